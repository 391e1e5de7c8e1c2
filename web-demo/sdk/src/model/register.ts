/**
 * Registers: `field@writer` -> `[hlc, value]` or `[hlc, value, meta]` in a flat map. Every writer has a key of its own,
 * so that Yjs never has to choose; readers take the largest by rank, time and writer, and the others stay as hints.
 */
import type * as Y from "yjs";
import { type Hlc, parseHlc } from "./hlc.ts";
import { parseWriter, type Writer } from "./ids.ts";
import { isRecord, type Json, read, same, text, whole } from "./json.ts";

/** Losing values shown of one field. */
const HINTS = 8;
/** The longest key that is read as a register, in bytes. */
const KEY_BYTES = 1024;

/** What comes before the time when two values are compared (a preference's source), or after it (a mark's number). */
export type Ranking = "time" | "source" | "value";

export type Source = "default" | "inferred" | "imported" | "explicit";
const SOURCES: readonly string[] = ["default", "inferred", "imported", "explicit"] satisfies Source[];

/** One writer's value, as stored. */
export interface Entry {
  readonly writer: Writer;
  readonly hlc: Hlc;
  readonly value: unknown;
  readonly meta: unknown;
}

/** A value that lost against another writer's: "also named 'Rome' on iPhone". */
export interface Hint {
  readonly value: Json;
  readonly writer: Writer;
  readonly hlc: Hlc;
}

/** All values of one field, the winner first; never empty. */
export type Field = readonly Entry[];

/** The source in a register's meta; what is not understood counts least. */
export function sourceOf(meta: unknown): Source {
  const source = isRecord(meta) ? text(meta["source"]) : undefined;
  return source !== undefined && SOURCES.includes(source) ? (source as Source) : "default";
}

/** Splits a key into field and writer; undefined where it is no register's. */
export function splitKey(key: string): readonly [field: string, writer: Writer] | undefined {
  const at = key.lastIndexOf("@");
  if (at <= 0 || (key.length * 3 > KEY_BYTES && new TextEncoder().encode(key).length > KEY_BYTES)) return;
  const writer = knownWriter(key.slice(at + 1));
  return writer === undefined ? undefined : [key.slice(0, at), writer];
}

/** Many keys have few writers; those met last need no second look. */
const writers = new Map<string, Writer | undefined>();
const WRITERS = 256;

function knownWriter(text: string): Writer | undefined {
  if (writers.has(text)) return writers.get(text);
  if (writers.size >= WRITERS) writers.clear();
  const writer = parseWriter(text);
  writers.set(text, writer);
  return writer;
}

export function parseEntry(writer: Writer, stored: unknown): Entry | undefined {
  if (!Array.isArray(stored) || stored.length < 2 || stored.length > 3) return undefined;
  const hlc = parseHlc(stored[0]);
  return hlc === undefined ? undefined : { writer, hlc, value: stored[1], meta: stored[2] };
}

/** What is stored of an entry. */
export function storedEntry({ hlc, value, meta }: Pick<Entry, "hlc" | "value" | "meta">): unknown[] {
  return meta === undefined ? [hlc, value] : [hlc, value, meta];
}

/** Compares two values of one field: the larger one wins. */
export function compare(a: Entry, b: Entry, ranking: Ranking): number {
  return (
    (ranking === "source" ? SOURCES.indexOf(sourceOf(a.meta)) - SOURCES.indexOf(sourceOf(b.meta)) : 0) ||
    order(a.hlc, b.hlc) ||
    (ranking === "value" ? (whole(a.value) ?? -1) - (whole(b.value) ?? -1) : 0) ||
    order(a.writer, b.writer)
  );
}

export function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The losing values that differ from the winner's and from each other, the strongest first. */
export function hintsOf(winner: Entry | undefined, losing: readonly Entry[]): readonly Hint[] {
  const shown: Entry[] = [];
  for (const entry of losing) {
    if (shown.length >= HINTS) break;
    const seen = winner === undefined ? shown : [winner, ...shown];
    if (seen.every((other) => !same(other.value, entry.value))) shown.push(entry);
  }
  return shown.map(({ value, writer, hlc }) => ({ value: read(value), writer, hlc }));
}

export function hints(field: Field | undefined): readonly Hint[] {
  return field === undefined ? [] : hintsOf(field[0], field.slice(1));
}

export function winnerText(field: Field | undefined): string | undefined {
  return text(field?.[0]?.value);
}

export function isTrue(field: Field | undefined): boolean {
  return field?.[0]?.value === true;
}

/** The registers of one root map, kept up to date key by key. */
export class Registers {
  readonly map: Y.Map<unknown>;
  readonly #ranking: Ranking;
  readonly #fields = new Map<string, Field>();
  readonly #watchers = new Set<(fields: ReadonlySet<string>) => void>();
  readonly #seen: ((hlc: Hlc) => void) | undefined;
  readonly #observer = (event: Y.YMapEvent<unknown>): void => this.#update(event.keysChanged);

  constructor(map: Y.Map<unknown>, ranking: Ranking, seen?: (hlc: Hlc) => void) {
    this.map = map;
    this.#ranking = ranking;
    this.#seen = seen;
    const groups = new Map<string, Entry[]>();
    for (const [key, stored] of map.entries()) {
      const split = splitKey(key);
      const entry = split && parseEntry(split[1], stored);
      if (split === undefined || entry === undefined) continue;
      const group = groups.get(split[0]);
      if (group === undefined) groups.set(split[0], [entry]);
      else group.push(entry);
      seen?.(entry.hlc);
    }
    for (const [field, entries] of groups) this.#fields.set(field, this.#sorted(entries));
    map.observe(this.#observer);
  }

  get fields(): ReadonlyMap<string, Field> {
    return this.#fields;
  }

  field(name: string): Field | undefined {
    return this.#fields.get(name);
  }

  /** Calls back with the fields that a transaction changed. */
  watch(watcher: (fields: ReadonlySet<string>) => void): void {
    this.#watchers.add(watcher);
  }

  destroy(): void {
    this.map.unobserve(this.#observer);
    this.#watchers.clear();
  }

  #sorted(entries: readonly Entry[]): Field {
    if (entries.length === 1) return entries;
    return [...entries].sort((a, b) => compare(b, a, this.#ranking));
  }

  #update(keys: ReadonlySet<string>): void {
    const changed = new Set<string>();
    for (const key of keys) {
      const split = splitKey(key);
      if (split === undefined) continue;
      const [name, writer] = split;
      const entry = parseEntry(writer, this.map.get(key));
      const others = (this.#fields.get(name) ?? []).filter((other) => other.writer !== writer);
      if (entry !== undefined) this.#seen?.(entry.hlc);
      const entries = entry === undefined ? others : [...others, entry];
      if (entries.length === 0) this.#fields.delete(name);
      else this.#fields.set(name, this.#sorted(entries));
      changed.add(name);
    }
    if (changed.size > 0) for (const watcher of this.#watchers) watcher(changed);
  }
}
