/** One message: its immutable head, its content, and how it is given out. */
import * as Y from "yjs";
import { type Hlc, parseHlc } from "./hlc.ts";
import { type DeviceId, isId, type MessageId, parseWriter, type Writer } from "./ids.ts";
import { isRecord, type Json, read, text } from "./json.ts";

const ROLE = /^[a-z-]{1,32}$/;
/** The longest request or model name, in bytes. */
const NAME_BYTES = 256;
/** How many parts of a streamed message are read. */
const PARTS = 4096;

/** A part of an AI SDK UIMessage: text, reasoning, a tool call, a file, a source, `data-*`. */
export interface Part {
  readonly type: string;
  readonly [key: string]: Json;
}

/** What a message is, for ever. */
export interface Head {
  readonly role: string;
  readonly parent: MessageId | null;
  readonly alt: MessageId | true | undefined;
  readonly by: Writer;
  readonly at: Hlc;
  readonly req: string | undefined;
  readonly model: string | undefined;
  readonly metadata: Json | undefined;
}

/** `pending`: not accepted by the server yet; a message without any other state is `done`. */
export type MessageState =
  | "pending"
  | "submitted"
  | "streaming"
  | "requires-action"
  | "done"
  | "stopped"
  | "interrupted"
  | "error";

const STATES: readonly string[] = [
  "submitted",
  "streaming",
  "requires-action",
  "done",
  "stopped",
  "interrupted",
  "error",
] satisfies MessageState[];

/** How far a message has come: only here, on the server's disk with a place, in every device's own store. */
export type Delivery = "pending" | "accepted" | "everywhere";

/** The messages at one place of the tree: "2 of 3". `ids` names those around this one. */
export interface Alternatives {
  readonly index: number;
  readonly count: number;
  readonly ids: readonly MessageId[];
}

export interface Feedback {
  readonly v: 1 | 0 | -1;
  readonly tags: readonly string[];
  readonly text: string | null;
}

export interface Message {
  readonly id: MessageId;
  /** The message it follows, as the server decided; null for a first one. */
  readonly parent: MessageId | null;
  readonly role: string;
  /** Its number of acceptance; null while it is pending. */
  readonly seq: number | null;
  readonly state: MessageState;
  readonly delivery: Delivery;
  readonly alternatives: Alternatives;
  /** Empty where the content was erased. */
  readonly parts: readonly Part[];
  readonly by: Writer;
  /** The device that wrote it; undefined for agents and the server. */
  readonly device: DeviceId | undefined;
  /** When, by its writer's clock. It never decides the order. */
  readonly at: Hlc;
  readonly req: string | undefined;
  readonly model: string | undefined;
  /** What its writer kept with it, as an AI SDK UIMessage has it. */
  readonly metadata: Json | undefined;
  /** How it ended: run, finish, error, who stopped it. */
  readonly details: Json | undefined;
  /** Usage, timing, citations. */
  readonly facts: Json | undefined;
  readonly feedback: Feedback | undefined;
  readonly hidden: boolean;
  /** Its content was erased for good. */
  readonly erased: boolean;
}

export function parseHead(stored: unknown): Head | undefined {
  if (!isRecord(stored)) return undefined;
  const role = text(stored["role"]);
  const by = text(stored["by"]);
  const writer = by === undefined ? undefined : parseWriter(by);
  const at = parseHlc(stored["at"]);
  const parent = parseParent(stored["parent"]);
  const alt = parseAlt(stored["alt"]);
  if (role === undefined || !ROLE.test(role) || writer === undefined || at === undefined) return undefined;
  if (parent === undefined || alt === "bad") return undefined;
  const [req, model] = [shortName(stored["req"]), shortName(stored["model"])];
  const metadata = stored["metadata"] === undefined ? undefined : read(stored["metadata"]);
  return { role, parent, alt, by: writer, at, req, model, metadata };
}

function parseParent(value: unknown): MessageId | null | undefined {
  if (value === null || value === undefined) return null;
  return typeof value === "string" && isId(value) ? (value as MessageId) : undefined;
}

function parseAlt(value: unknown): MessageId | true | undefined | "bad" {
  if (value === null || value === undefined || value === false) return undefined;
  if (value === true) return true;
  return typeof value === "string" && isId(value) ? (value as MessageId) : "bad";
}

function shortName(value: unknown): string | undefined {
  const fits =
    typeof value === "string" && value !== "" && new TextEncoder().encode(value).length <= NAME_BYTES;
  return fits ? value : undefined;
}

/** Reads `[state, details?]`. */
export function parseState(stored: unknown): readonly [MessageState, Json | undefined] | undefined {
  if (!Array.isArray(stored)) return undefined;
  const [state, details] = stored as unknown[];
  if (typeof state !== "string" || !STATES.includes(state)) return undefined;
  return [state as MessageState, details === undefined ? undefined : read(details)];
}

export function readFeedback(value: unknown): Feedback | undefined {
  if (!isRecord(value)) return undefined;
  const { v, tags, text: words } = value;
  if (v !== 1 && v !== 0 && v !== -1) return undefined;
  const known = Array.isArray(tags) ? tags.filter((tag) => typeof tag === "string") : [];
  return { v, tags: known, text: typeof words === "string" ? words : null };
}

/** A message's container as it stands; undefined where it is no message (yet). */
export function readContainer(
  container: unknown,
): { readonly head: Head; readonly parts: readonly Part[]; readonly erased: boolean } | undefined {
  if (!(container instanceof Y.Map)) return undefined;
  const head = parseHead(container.get("head"));
  if (head === undefined) return undefined;
  const parts: unknown = container.get("parts");
  if (isRecord(parts) && !(parts instanceof Y.Map) && parts["erased"] === true) {
    return { head, parts: [], erased: true };
  }
  if (Array.isArray(parts)) return { head, parts: parts.map((part) => read(part) as Part), erased: false };
  if (parts instanceof Y.Map && parts.size > 0) return { head, parts: readLive(parts), erased: false };
  return undefined;
}

function readLive(parts: Y.Map<unknown>): readonly Part[] {
  const ordinals = [...parts.entries()].sort(([a], [b]) => byOrdinal(a, b));
  return ordinals.slice(0, PARTS).flatMap(([, part]) => readPart(part));
}

/** Whole numbers by their size, before all else. */
function byOrdinal(a: string, b: string): number {
  const number = (key: string) => (/^\d+$/.test(key) ? Number(key) : Number.POSITIVE_INFINITY);
  const [x, y] = [number(a), number(b)];
  return x === y ? (a < b ? -1 : 1) : x - y;
}

function readPart(stored: unknown): Part[] {
  if (!(stored instanceof Y.Map)) return isRecord(stored) ? [read(stored) as Part] : [];
  const head: unknown = stored.get("head");
  const plain = read(head);
  if (!isRecord(head) || head instanceof Y.AbstractType || !isRecord(plain)) return [];
  const part: Record<string, Json> = { ...(plain as Part) };
  // The id in a part's head is the document's own; only data parts have one in a UIMessage.
  if (!String(part["type"] ?? "").startsWith("data-")) delete part["id"];
  const words: unknown = stored.get("text");
  if (words instanceof Y.Text) part["text"] = words.toString();
  for (const key of ["state", "output"]) {
    const value: unknown = stored.get(key);
    if (value !== undefined && !(value instanceof Y.AbstractType)) part[key] = read(value);
  }
  return [part as Part];
}

/** The text of a message, its text parts one after the other. */
export function textOf(message: Pick<Message, "parts">): string {
  const texts = message.parts.filter((part) => part.type === "text").map((part) => part["text"]);
  return texts.filter((part) => typeof part === "string").join("\n\n");
}
