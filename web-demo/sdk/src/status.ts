/** What a device can truthfully say about its copy of a document, and what the server reports about all of them. */

/** Names one device of a user; the server accepts `[A-Za-z0-9_-]{1,64}`. */
export type DeviceId = string & { readonly __brand: "DeviceId" };

export type DeviceKind = "phone" | "laptop" | "other";

export interface Device {
  readonly id: DeviceId;
  readonly name: string;
  readonly kind: DeviceKind;
}

/**
 * The state of one device's copy. Only `saved` means that the server holds every edit of this device on disk;
 * `unsaved` counts edits of which that is not known.
 */
export type Status =
  | { readonly kind: "offline"; readonly cause: "switched-off" | "unreachable"; readonly unsaved: number }
  | { readonly kind: "connecting"; readonly unsaved: number }
  | { readonly kind: "saving"; readonly unsaved: number }
  | { readonly kind: "saved" }
  | { readonly kind: "behind"; readonly changes: number }
  | { readonly kind: "refused"; readonly reason: string; readonly unsaved: number };

/** Another device that has this document, as far as this device has been told. */
export interface PeerDevice {
  readonly id: string;
  readonly name: string;
  readonly kind: DeviceKind;
  readonly online: boolean;
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
  const message = parseRecord(payload);
  if (message?.["type"] !== "status" || message["document"] !== document) return undefined;
  const { saved, devices } = message;
  if (!isCount(saved) || !Array.isArray(devices)) return undefined;
  return { saved, devices: devices.flatMap(readDevice) };
}

export function receivedMessage(document: string, saved: number): string {
  return JSON.stringify({ type: "received", document, saved });
}

export function toDeviceKind(kind: unknown): DeviceKind {
  return kind === "phone" || kind === "laptop" ? kind : "other";
}

function readDevice(value: unknown): PeerDevice[] {
  if (!isRecord(value) || typeof value["id"] !== "string") return [];
  const { id, name, kind, online, behind } = value;
  return [
    {
      id,
      name: typeof name === "string" && name !== "" ? name : id,
      kind: toDeviceKind(kind),
      online: online === true,
      behind: isCount(behind) ? behind : undefined,
    },
  ];
}

function parseRecord(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
