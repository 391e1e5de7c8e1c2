/**
 * Carries the edits of a copy that the server refused over to a fresh one: piece by piece as the model knows them, since a
 * copy holds its edits as one and would bring the refused one along.
 */
import * as Y from "yjs";
import { type DeviceId, type DocumentName, deviceOf, isId } from "../model/ids.ts";
import { isRecord, store } from "../model/json.ts";
import { readContainer } from "../model/message.ts";
import { parseEntry, splitKey } from "../model/register.ts";

/** The root maps of registers, by what a document is. */
const REGISTERS: Readonly<Record<string, readonly string[]>> = {
  profile: ["preferences", "devices", "folders"],
  index: ["conversations"],
  marks: ["marks"],
  drafts: ["drafts"],
  c: ["selected", "feedback", "hidden", "control"],
};

/** The largest value that is carried over, in UTF-16 units: what is larger may be what was refused. */
const VALUE_LENGTH = 64 * 1024;
const MESSAGE_LENGTH = 4 * 1024 * 1024;

/** Whether the edits of such a document can be told apart. Free-form ones cannot: they stay aside as they are. */
export function isCarried(name: DocumentName): boolean {
  return kindOf(name) in REGISTERS;
}

function kindOf(name: DocumentName): string {
  return name.split("/")[1] ?? "";
}

/** Writes what `from` has beyond `to`, each edit in a transaction of its own. Answers how many. */
export function carryOver(name: DocumentName, from: Y.Doc, to: Y.Doc, device: DeviceId): number {
  const kind = kindOf(name);
  let carried = 0;
  const write = (edit: () => void) => {
    to.transact(edit, carryOver);
    carried += 1;
  };
  for (const root of REGISTERS[kind] ?? []) carryRegisters(from.getMap(root), to.getMap(root), device, write);
  if (kind !== "c") return carried;
  const [meta, messages] = [to.getMap<unknown>("meta"), to.getMap<unknown>("messages")];
  for (const [key, value] of from.getMap<unknown>("meta")) {
    if (!meta.has(key) && isPlain(value, VALUE_LENGTH)) write(() => meta.set(key, value));
  }
  for (const [id, container] of from.getMap<unknown>("messages")) {
    const content = isId(id) && !messages.has(id) ? readContainer(container) : undefined;
    if (content === undefined || content.erased || !(container instanceof Y.Map)) continue;
    const head: unknown = container.get("head");
    const parts = store(content.parts);
    if (!isPlain(head, VALUE_LENGTH) || !isPlain(parts, MESSAGE_LENGTH)) continue;
    write(() => {
      const fresh = new Y.Map<unknown>();
      fresh.set("head", head);
      fresh.set("parts", parts);
      messages.set(id, fresh);
    });
  }
  return carried;
}

function carryRegisters(
  from: Y.Map<unknown>,
  to: Y.Map<unknown>,
  device: DeviceId,
  write: (edit: () => void) => void,
): void {
  for (const [key, stored] of from) {
    const writer = splitKey(key)?.[1];
    if (writer === undefined || deviceOf(writer) !== device || !isPlain(stored, VALUE_LENGTH)) continue;
    const entry = parseEntry(writer, stored);
    const there = parseEntry(writer, to.get(key));
    if (entry === undefined || (there !== undefined && there.hlc >= entry.hlc)) continue;
    write(() => to.set(key, stored));
  }
}

/** Whether a value is JSON as the model writes it: bounded in size and in depth. */
function isPlain(value: unknown, length: number): boolean {
  return isShallow(value, 16) && (JSON.stringify(value) ?? "").length <= length;
}

function isShallow(value: unknown, depth: number): boolean {
  if (Array.isArray(value)) return depth > 0 && value.every((item) => isShallow(item, depth - 1));
  if (!isRecord(value)) return value !== undefined;
  const isObject = Object.getPrototypeOf(value) === Object.prototype;
  return depth > 0 && isObject && Object.values(value).every((item) => isShallow(item, depth - 1));
}
