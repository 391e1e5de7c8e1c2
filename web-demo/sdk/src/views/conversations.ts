/** The conversation list: what people set, from the index documents, with last turns and unread counts beside it. */
import type { Clock } from "../model/hlc.ts";
import {
  type ConversationId,
  type FolderId,
  msOf,
  parseConversationId,
  quarterAt,
  uuid7,
} from "../model/ids.ts";
import { same } from "../model/json.ts";
import { type Fields, hasNews, type Listed, type Mark, readListed, readMark } from "../model/listing.ts";
import type { Pen } from "../model/pen.ts";
import { type Field, type Hint, Registers } from "../model/register.ts";
import type { SyncedDocument } from "../sync/document.ts";
import { Listeners, type Live } from "./live.ts";
import { byPlace, fits, type ListFilter, updateRows } from "./rows.ts";
import type { LastTurn, Summaries, Summary } from "./summaries.ts";

/** A conversation in a list. */
export interface ConversationRow extends Listed {
  /** It was deleted, and turns came that the deleter had not seen. */
  readonly news: boolean;
  readonly last: LastTurn | null;
  /** Turns after the last one read or written. */
  readonly unread: number;
  /** When something last happened: unix milliseconds. */
  readonly activeAt: number;
}

export interface NewConversation {
  /** A UUIDv7; drawn if not given. */
  readonly id?: ConversationId;
  readonly title?: string;
  readonly folder?: FolderId | null;
  readonly tags?: readonly string[];
  readonly pinned?: boolean;
}

/** What the list needs of the client. */
export interface ConversationsHost {
  readonly pen: Pen;
  readonly clock: Clock;
  /** Opens the index of a quarter for as long as the client lives. */
  index(quarter: string): Promise<void>;
  /** Writes what a conversation is into its own document. */
  found(id: ConversationId): void;
  /** Rows that changed, or their read marks. */
  touched(ids: Iterable<ConversationId>): void;
  /** Runs once the device's own store is open. */
  whenOpen<T>(work: () => T | Promise<T>): Promise<T>;
}

/** Lists that are kept up to date at once. */
const LISTS = 32;
const NO_FIELDS: Fields = new Map();

export class Conversations implements Live<readonly ConversationRow[]> {
  readonly #host: ConversationsHost;
  readonly #indexes = new Map<string, Registers>();
  readonly #groups = new Map<ConversationId, Map<string, Field>>();
  readonly #rows = new Map<ConversationId, ConversationRow>();
  readonly #lists = new Map<string, List>();
  readonly #main: List;
  readonly #gone = new Set<ConversationId>();
  #marks: Registers | undefined;
  #summaries: Summaries | undefined;

  constructor(host: ConversationsHost) {
    this.#host = host;
    this.#main = new List({}, () => this.#rows.values());
    this.#lists.set(keyOf({}), this.#main);
  }

  /** Those that are neither archived nor deleted: pinned ones first, then the newest. */
  get value(): readonly ConversationRow[] {
    return this.#main.value;
  }

  readonly subscribe = (listener: () => void): (() => void) => this.#main.subscribe(listener);

  /** Another list: archived ones, deleted ones, a folder, a tag, words of the title. */
  list(filter: ListFilter): Live<readonly ConversationRow[]> {
    const key = keyOf(filter);
    const known = this.#lists.get(key);
    if (known !== undefined) return known;
    // A search makes a list for every letter that was typed; those that nobody shows any more are let go of.
    for (const [other, list] of this.#lists) {
      if (this.#lists.size < LISTS) break;
      if (list !== this.#main && !list.isShown) this.#lists.delete(other);
    }
    const list = new List(filter, () => this.#rows.values());
    this.#lists.set(key, list);
    return list;
  }

  /** How many conversations stand in an index, and have no summary. */
  get untold(): number {
    let count = 0;
    for (const [id, { size }] of this.#groups) {
      if (size > 0 && !this.#gone.has(id) && this.#summaries?.get(id) === undefined) count += 1;
    }
    return count;
  }

  /** One row, archived, deleted or neither. */
  get(id: ConversationId): ConversationRow | undefined {
    return this.#rows.get(id);
  }

  /** Makes a conversation. It is there at once, offline too. */
  create(made: NewConversation = {}): ConversationId {
    const id = made.id ?? (uuid7(this.#host.clock.now) as ConversationId);
    void this.#write(id, (index, pen) => {
      pen.write(index, `${id}|made`, Math.floor(this.#host.clock.now));
      if (made.title !== undefined) pen.write(index, `${id}|title`, made.title);
      if (made.folder !== undefined) pen.write(index, `${id}|folder`, made.folder);
      for (const tag of made.tags ?? []) pen.write(index, `${id}|tag:${tag}`, true);
      if (made.pinned === true) pen.write(index, `${id}|pinned`, true);
    });
    this.#host.found(id);
    return id;
  }

  /** Sets the person's own title; an empty one gives way to the automatic one. */
  rename(id: ConversationId, title: string): Promise<void> {
    return this.#set(id, "title", title);
  }

  pin(id: ConversationId, pinned = true): Promise<void> {
    return this.#set(id, "pinned", pinned);
  }

  archive(id: ConversationId, archived = true): Promise<void> {
    return this.#set(id, "archived", archived);
  }

  move(id: ConversationId, folder: FolderId | null): Promise<void> {
    return this.#set(id, "folder", folder);
  }

  tag(id: ConversationId, tag: string, isThere = true): Promise<void> {
    return this.#set(id, `tag:${tag}`, isThere);
  }

  /** Puts it under "recently deleted"; what others then write in it shows there as news. */
  delete(id: ConversationId): Promise<void> {
    const seq = this.#rows.get(id)?.last?.seq ?? undefined;
    return this.#set(id, "deleted", true, seq === undefined ? undefined : { seq });
  }

  restore(id: ConversationId): Promise<void> {
    return this.#set(id, "deleted", false);
  }

  /** Takes a value that lost ("use that"). Setting the present value again undoes it. */
  adopt(id: ConversationId, field: string, { value }: Pick<Hint, "value">): Promise<void> {
    return this.#set(id, field, value);
  }

  /** Marks everything as read, or all from a number on as unread. */
  markRead(id: ConversationId, upTo?: { readonly seq: number; readonly tip?: string }): Promise<void> {
    return this.#host.whenOpen(() => {
      const last = this.#rows.get(id)?.last;
      const seq = upTo?.seq ?? last?.seq ?? 0;
      const tip = upTo === undefined ? last?.id : upTo.tip;
      if (this.#marks !== undefined) this.#host.pen.write(this.#marks, `${id}|read`, seq, tip);
    });
  }

  mark(id: ConversationId): Mark | undefined {
    return readMark(this.#marks?.field(`${id}|read`));
  }

  /** Takes an index document into the list. */
  addIndex(quarter: string, document: SyncedDocument): Registers {
    this.removeIndex(quarter);
    const registers = new Registers(document.doc.getMap("conversations"), "time", (hlc) =>
      this.#host.clock.observe(hlc),
    );
    this.#indexes.set(quarter, registers);
    registers.watch((fields) => this.#fieldsChanged(registers, fields));
    this.#fieldsChanged(registers, registers.fields.keys());
    return registers;
  }

  /** Takes an index out of the list again: another copy takes its place. */
  removeIndex(quarter: string): void {
    const registers = this.#indexes.get(quarter);
    if (registers === undefined) return;
    this.#indexes.delete(quarter);
    registers.destroy();
    for (const name of registers.fields.keys()) {
      const id = idOf(name);
      if (id !== undefined) this.#groups.get(id)?.delete(name.slice(37));
    }
  }

  setMarks(registers: Registers): void {
    this.#marks?.destroy();
    this.#marks = registers;
    registers.watch((fields) => this.#touch([...fields].flatMap((field) => idOf(field) ?? [])));
    this.#touch([...registers.fields.keys()].flatMap((field) => idOf(field) ?? []));
  }

  setSummaries(summaries: Summaries): void {
    this.#summaries = summaries;
    this.#touch([...summaries.ids]);
  }

  /** Takes what was erased for good out of all lists. */
  setGone(ids: Iterable<ConversationId>): void {
    const gone = [...ids];
    for (const id of gone) this.#gone.add(id);
    this.#touch(gone);
  }

  /** Brings rows up to date whose summary changed. */
  summariesChanged(ids: Iterable<ConversationId>): void {
    this.#touch(ids);
  }

  #set(id: ConversationId, field: string, value: unknown, meta?: unknown): Promise<void> {
    return this.#write(id, (index, pen) => pen.write(index, `${id}|${field}`, value, meta));
  }

  #write(id: ConversationId, write: (index: Registers, pen: Pen) => void): Promise<void> {
    const quarter = quarterAt(msOf(id));
    return this.#host.whenOpen(async () => {
      if (!this.#indexes.has(quarter)) await this.#host.index(quarter);
      const index = this.#indexes.get(quarter);
      if (index === undefined) throw new Error("the index of this conversation is not open");
      index.map.doc?.transact(() => write(index, this.#host.pen), this.#host.pen);
    });
  }

  #fieldsChanged(registers: Registers, fields: Iterable<string>): void {
    const touched = new Set<ConversationId>();
    for (const name of fields) {
      const id = idOf(name);
      if (id === undefined) continue;
      const group = this.#groups.get(id) ?? new Map<string, Field>();
      const field = registers.field(name);
      if (field === undefined) group.delete(name.slice(37));
      else group.set(name.slice(37), field);
      this.#groups.set(id, group);
      touched.add(id);
    }
    this.#touch(touched);
  }

  #touch(ids: Iterable<ConversationId>): void {
    const changed = new Map<ConversationId, ConversationRow | undefined>();
    for (const id of ids) {
      const before = this.#rows.get(id);
      const row = this.#read(id);
      if (row === undefined) this.#rows.delete(id);
      else if (!same(before, row)) this.#rows.set(id, row);
      changed.set(id, this.#rows.get(id));
    }
    if (changed.size === 0) return;
    for (const list of this.#lists.values()) list.update(changed);
    this.#host.touched(changed.keys());
  }

  #read(id: ConversationId): ConversationRow | undefined {
    if (this.#gone.has(id)) return undefined;
    const fields = this.#groups.get(id);
    const summary = this.#summaries?.get(id);
    const last = summary?.last ?? null;
    const isEntered = fields !== undefined && fields.size > 0;
    // Made by a client that entered it nowhere: it shows once something is said in it.
    if (!isEntered && last === null) return undefined;
    const listed = readListed(id, fields ?? NO_FIELDS);
    const seq = last?.seq ?? 0;
    const read = readUpTo(this.mark(id)?.seq, summary);
    return {
      ...listed,
      news: hasNews(listed, seq, last?.at ?? 0),
      last,
      unread: Math.max(0, seq - read),
      activeAt: Math.max(last?.at ?? 0, last === null ? listed.createdAt : 0),
    };
  }
}

/** A mark that was lowered since the summary was told marks as unread; one that is lower anyway says nothing new. */
function readUpTo(mark: number | undefined, summary: Summary | undefined): number {
  if (summary === undefined) return mark ?? 0;
  if (mark === undefined || mark === summary.mark) return summary.read;
  return mark < (summary.mark ?? 0) ? mark : Math.max(mark, summary.read);
}

/** One list of rows. */
class List implements Live<readonly ConversationRow[]> {
  readonly #filter: ListFilter;
  readonly #all: () => Iterable<ConversationRow>;
  readonly #listeners = new Listeners();
  #value: readonly ConversationRow[] | undefined;

  constructor(filter: ListFilter, all: () => Iterable<ConversationRow>) {
    this.#filter = filter;
    this.#all = all;
  }

  get value(): readonly ConversationRow[] {
    this.#value ??= [...this.#all()].filter((row) => fits(row, this.#filter)).sort(byPlace);
    return this.#value;
  }

  readonly subscribe = (listener: () => void): (() => void) => this.#listeners.add(listener);

  get isShown(): boolean {
    return this.#listeners.size > 0;
  }

  update(changed: ReadonlyMap<ConversationId, ConversationRow | undefined>): void {
    // One that was never read is computed when it is.
    const value = this.#value === undefined ? undefined : updateRows(this.#value, changed, this.#filter);
    if (value !== undefined && value === this.#value) return;
    this.#value = value;
    this.#listeners.tell();
  }
}

function keyOf(filter: ListFilter): string {
  return JSON.stringify(Object.entries(filter).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The conversation of a field `{id}|{what}`. */
function idOf(field: string): ConversationId | undefined {
  return field[36] === "|" ? parseConversationId(field.slice(0, 36)) : undefined;
}
