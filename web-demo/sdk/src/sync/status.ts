/** What a device can truthfully say about its copy of a document, and what the server reports about all of them. */
import type { DeviceId } from "../model/ids.ts";
import { isRecord, parse, text, whole } from "../model/json.ts";

export type DeviceKind = "phone" | "tablet" | "laptop" | "desktop" | "other";
const KINDS: readonly string[] = ["phone", "tablet", "laptop", "desktop", "other"] satisfies DeviceKind[];

export interface Device {
  readonly id: DeviceId;
  readonly name: string;
  readonly kind: DeviceKind;
}

/** Why the server does not take what this device has. */
export type RefusalCode =
  /** The document was erased for good; its name is burned. */
  | "gone"
  /** No token, or one that the server does not take. */
  | "unauthorized"
  /** The token does not open this document, or this device wrote in a loop what is healed. */
  | "forbidden"
  /** The token reads this document; edits stay here. */
  | "read-only"
  /** More at once, or in one document, than the server takes. */
  | "too-big"
  /** An edit cannot be taken, now or later: it is set aside. */
  | "update"
  /** The server cannot take edits at present; they are offered again. */
  | "unavailable";

export interface Refusal {
  readonly code: RefusalCode;
  readonly reason: string;
}

/**
 * The state of one device's copy. Only `saved` means that the server holds every edit of this device on disk;
 * `unsaved` counts edits of which that is not known, those of reloaded and other tabs of this device too.
 */
export type Status =
  | { readonly kind: "offline"; readonly cause: "switched-off" | "unreachable"; readonly unsaved: number }
  | { readonly kind: "connecting"; readonly unsaved: number }
  | { readonly kind: "saving"; readonly unsaved: number }
  /** All of this device's edits are saved; `changes` from elsewhere are still to be stored here. */
  | { readonly kind: "merging"; readonly changes: number }
  | { readonly kind: "saved" }
  | ({ readonly kind: "refused"; readonly unsaved: number } & Refusal);

/** Another device that has this document, as far as this device has been told. */
export interface PeerDevice {
  readonly id: string;
  readonly name: string;
  readonly kind: DeviceKind;
  readonly online: boolean;
  /** Unix milliseconds at which the server last heard of it; undefined where it does not say. */
  readonly lastSeen: number | undefined;
  /** Saved changes that are not in that device's own store; undefined where the server does not say. */
  readonly behind: number | undefined;
}

export interface StatusReport {
  /** The document's durable sequence number. */
  readonly saved: number;
  readonly devices: readonly PeerDevice[];
}

/** Reads the server's status message; undefined for anything else, so that unknown messages are harmless. */
export function readStatusReport(payload: string, document: string): StatusReport | undefined {
  const message = parse(payload);
  if (!isRecord(message) || message["type"] !== "status" || message["document"] !== document)
    return undefined;
  const saved = whole(message["saved"]);
  const devices: unknown = message["devices"];
  if (saved === undefined || !Array.isArray(devices)) return undefined;
  return { saved, devices: devices.flatMap(readDevice) };
}

/** What the server says beside an update that it does not take. */
export function readRefusedMessage(payload: string, document: string): Refusal | undefined {
  const message = parse(payload);
  if (!isRecord(message) || message["type"] !== "refused" || message["document"] !== document)
    return undefined;
  const [code, reason] = [text(message["code"]) ?? "", text(message["reason"]) ?? "it says no more"];
  if (code === "unavailable" || code === "store") return { code: "unavailable", reason };
  return { code: code === "too_big" ? "too-big" : "update", reason };
}

export function receivedMessage(document: string, saved: number): string {
  return JSON.stringify({ type: "received", document, saved });
}

export function visibilityMessage(hidden: boolean): string {
  return JSON.stringify({ type: "visibility", hidden });
}

export function toDeviceKind(kind: unknown): DeviceKind {
  return typeof kind === "string" && KINDS.includes(kind) ? (kind as DeviceKind) : "other";
}

function readDevice(value: unknown): PeerDevice[] {
  if (!isRecord(value) || typeof value["id"] !== "string") return [];
  const { id, name, kind, online, behind, lastSeen } = value;
  return [
    {
      id,
      name: typeof name === "string" && name !== "" ? name : id,
      kind: toDeviceKind(kind),
      online: online === true,
      lastSeen: whole(lastSeen),
      behind: whole(behind),
    },
  ];
}

export function unsavedIn(status: Status): number {
  return "unsaved" in status ? status.unsaved : 0;
}

/** One status for several documents: the worst of them, their counts added up. */
export function worst(statuses: readonly Status[]): Status {
  const unsaved = statuses.reduce((sum, status) => sum + unsavedIn(status), 0);
  const find = <K extends Status["kind"]>(kind: K) =>
    statuses.find((status): status is Extract<Status, { kind: K }> => status.kind === kind);
  const refused = find("refused");
  if (refused !== undefined) return { ...refused, unsaved };
  const offline = find("offline");
  if (offline !== undefined) return { ...offline, unsaved };
  if (find("connecting") !== undefined) return { kind: "connecting", unsaved };
  if (unsaved > 0) return { kind: "saving", unsaved };
  const changes = statuses.reduce((sum, status) => sum + (status.kind === "merging" ? status.changes : 0), 0);
  return changes > 0 ? { kind: "merging", changes } : { kind: "saved" };
}

export function sameStatus(a: Status, b: Status): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
