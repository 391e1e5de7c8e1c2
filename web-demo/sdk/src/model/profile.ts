/** What belongs to a person: preferences with where each came from, devices, folders. */
import { type Hlc, hlcMs } from "./hlc.ts";
import type { DeviceId, FolderId, Writer } from "./ids.ts";
import { isRecord, type Json, read, text, whole } from "./json.ts";
import { type Conflicts, conflictsOf, type Fields } from "./listing.ts";
import {
  type Entry,
  type Field,
  type Hint,
  hintsOf,
  isTrue,
  order,
  type Source,
  sourceOf,
  winnerText,
} from "./register.ts";

/** A preference as it stands. */
export interface Preference {
  readonly name: string;
  /** Null while it is blocked. */
  readonly value: Json;
  readonly source: Source;
  /** The person stopped inference. */
  readonly blocked: boolean;
  /** How sure its source is, 0 to 1. */
  readonly confidence: number | undefined;
  /** What it was concluded from. */
  readonly evidence: Json | undefined;
  /** For how many seconds it holds. */
  readonly ttl: number | undefined;
  /** Whether it still holds. */
  readonly fresh: boolean;
  readonly writer: Writer;
  readonly hlc: Hlc;
  /** Values that lost against it. */
  readonly conflicts: readonly Hint[];
}

type Op = "set" | "clear" | "block";

function opOf(entry: Entry): Op | undefined {
  const op = isRecord(entry.meta) ? entry.meta["op"] : undefined;
  if (op === undefined) return "set";
  return op === "set" || op === "clear" || op === "block" ? op : undefined;
}

/** What counts of a field: `clear` and `block` take back what is not later, `block` also keeps inferred values out. */
function resolve(field: Field): { readonly value: Entry | undefined; readonly block: Entry | undefined } {
  let takenBack = "";
  let block: Entry | undefined;
  for (const entry of field) {
    const source = sourceOf(entry.meta);
    const hidden = source !== "default" && takenBack !== "" && entry.hlc <= takenBack;
    if (hidden || (block !== undefined && source === "inferred")) continue;
    const op = opOf(entry);
    if (op === "set") return { value: entry, block };
    if (op === undefined) continue;
    if (entry.hlc > takenBack) takenBack = entry.hlc;
    // Only the person may forbid.
    if (op === "block" && source === "explicit") block ??= entry;
  }
  return { value: undefined, block };
}

export function isBlocked(field: Field | undefined): boolean {
  return field !== undefined && resolve(field).block !== undefined;
}

export function readPreference(name: string, field: Field, now: number): Preference | undefined {
  const { value, block } = resolve(field);
  const entry = value ?? block;
  if (entry === undefined) return undefined;
  const meta = isRecord(entry.meta) ? entry.meta : {};
  const ttl = whole(meta["ttl"]);
  const { confidence } = meta;
  const isSure = typeof confidence === "number" && confidence >= 0 && confidence <= 1;
  const losing = field.filter((other) => other !== entry && opOf(other) === "set");
  return {
    name,
    value: value === undefined ? null : read(value.value),
    source: sourceOf(entry.meta),
    blocked: block !== undefined,
    confidence: isSure ? confidence : undefined,
    evidence: meta["evidence"] === undefined ? undefined : read(meta["evidence"]),
    ttl,
    fresh: ttl === undefined || now <= hlcMs(entry.hlc) + ttl * 1000,
    writer: entry.writer,
    hlc: entry.hlc,
    conflicts: hintsOf(value, losing),
  };
}

export interface ProfileDevice {
  readonly id: DeviceId;
  readonly name: string | null;
  readonly kind: string | null;
  /** Its tokens are no longer taken. */
  readonly revoked: boolean;
  readonly conflicts: Conflicts;
}

export function readDevice(id: DeviceId, fields: Fields): ProfileDevice {
  return {
    id,
    name: winnerText(fields.get("name")) ?? null,
    kind: winnerText(fields.get("kind")) ?? null,
    revoked: isTrue(fields.get("revoked")),
    conflicts: conflictsOf(fields),
  };
}

export interface Folder {
  readonly id: FolderId;
  readonly name: string | null;
  readonly parent: FolderId | null;
  /** Sorts folders of one parent; set by hand. */
  readonly order: string | null;
  readonly deleted: boolean;
  readonly conflicts: Conflicts;
}

/** Reads all folders; those that were moved into each other stand at the top. */
export function readFolders(groups: ReadonlyMap<string, Fields>): Folder[] {
  const parents = new Map<string, string>();
  for (const [id, fields] of groups) {
    const parent = winnerText(fields.get("parent"));
    if (parent !== undefined && groups.has(parent)) parents.set(id, parent);
  }
  const folders = [...groups].map(([id, fields]): Folder => {
    const parent = isInCycle(parents, id) ? undefined : parents.get(id);
    return {
      id: id as FolderId,
      name: winnerText(fields.get("name")) ?? null,
      parent: (parent ?? null) as FolderId | null,
      order: text(fields.get("order")?.[0]?.value) ?? null,
      deleted: isTrue(fields.get("deleted")),
      conflicts: conflictsOf(fields),
    };
  });
  return folders.sort((a, b) => order(a.id, b.id));
}

function isInCycle(parents: ReadonlyMap<string, string>, id: string): boolean {
  let at = id;
  for (let steps = 0; steps <= parents.size; steps += 1) {
    const parent = parents.get(at);
    if (parent === undefined) return false;
    if (parent === id) return true;
    at = parent;
  }
  return false;
}

/** Sorts fields `{id}|{what}` by their ids. */
export function grouped(fields: Iterable<readonly [string, Field]>): Map<string, Map<string, Field>> {
  const groups = new Map<string, Map<string, Field>>();
  for (const [name, field] of fields) {
    const at = name.indexOf("|");
    if (at < 0) continue;
    const id = name.slice(0, at);
    const group = groups.get(id) ?? new Map<string, Field>();
    groups.set(id, group.set(name.slice(at + 1), field));
  }
  return groups;
}
