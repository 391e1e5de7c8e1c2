/** Names inside documents, branded so that one kind cannot stand in for another. */

/** Names one device of a user: `[A-Za-z0-9_-]{1,64}`. */
export type DeviceId = string & { readonly __brand: "DeviceId" };
/** A conversation: a lower-case UUIDv7, whose time says in which index it stands. */
export type ConversationId = string & { readonly __brand: "ConversationId" };
export type MessageId = string & { readonly __brand: "MessageId" };
export type FolderId = string & { readonly __brand: "FolderId" };
/** Who writes registers: `device.session`, `server`, or `agent:NAME`. */
export type Writer = string & { readonly __brand: "Writer" };
/** A document's full name, owner first: `ada/c/{conversation}`. */
export type DocumentName = string & { readonly __brand: "DocumentName" };

const ID = /^[A-Za-z0-9_-]{1,64}$/;
const CONVERSATION = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const SESSION_WRITER = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;
const AGENT_WRITER = /^agent:[A-Za-z0-9_\-./:]+$/;
const WRITER_LENGTH = 160;

export const SERVER = "server" as Writer;

export function isId(text: string): boolean {
  return ID.test(text);
}

export function parseDeviceId(text: string): DeviceId | undefined {
  return ID.test(text) ? (text as DeviceId) : undefined;
}

export function parseConversationId(text: string): ConversationId | undefined {
  return CONVERSATION.test(text) ? (text as ConversationId) : undefined;
}

export function parseMessageId(text: string): MessageId | undefined {
  return ID.test(text) ? (text as MessageId) : undefined;
}

export function parseWriter(text: string): Writer | undefined {
  if (text.length > WRITER_LENGTH) return undefined;
  const fits = text === SERVER || SESSION_WRITER.test(text) || AGENT_WRITER.test(text);
  return fits ? (text as Writer) : undefined;
}

/** The device of a `device.session`; undefined for the server and for agents. */
export function deviceOf(writer: Writer): DeviceId | undefined {
  if (writer.startsWith("agent:")) return undefined;
  const dot = writer.indexOf(".");
  return dot < 0 ? undefined : (writer.slice(0, dot) as DeviceId);
}

/** Draws a UUIDv7. */
export function uuid7(now: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let rest = Math.max(0, Math.floor(now));
  for (let at = 5; at >= 0; at -= 1) {
    bytes[at] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  bytes[6] = 0x70 | ((bytes[6] ?? 0) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [8, 12, 16, 20].reduceRight((text, at) => `${text.slice(0, at)}-${text.slice(at)}`, hex);
}

/** When a conversation was made, by its own word: unix milliseconds. */
export function msOf(id: ConversationId): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

/** The quarter of a time (UTC), as in `index/2026-q4`. */
export function quarterAt(ms: number): string {
  const date = new Date(ms);
  // A UUIDv7 may name a time that JavaScript's dates cannot; those stand with the last it can name.
  if (Number.isNaN(date.getTime())) return quarterAt(8_640_000_000_000_000);
  return `${String(date.getUTCFullYear()).padStart(4, "0")}-q${Math.floor(date.getUTCMonth() / 3) + 1}`;
}

export function isQuarter(text: string): boolean {
  return /^\d{4,}-q[1-4]$/.test(text);
}

/** A random name of letters and digits. */
export function randomName(length: number): string {
  const letters = "abcdefghijkmnpqrstuvwxyz23456789";
  return [...crypto.getRandomValues(new Uint8Array(length))].map((byte) => letters[byte % 32]).join("");
}
