/**
 * What the server's tables say of conversations: last turns and what is unread. Fetched over HTTP by the page that leads,
 * kept in the device's store for all of them, so that a list shows as it was while there is no network.
 */
import { type ConversationId, type MessageId, parseConversationId } from "../model/ids.ts";
import { isRecord, text, whole } from "../model/json.ts";
import type { Home } from "../sync/home.ts";

/** The last turn of a conversation. */
export interface LastTurn {
  readonly id: MessageId;
  /** Null while it is pending. */
  readonly seq: number | null;
  readonly role: string;
  /** The beginning of its text. */
  readonly preview: string;
  /** Unix milliseconds. */
  readonly at: number;
}

export interface Summary {
  readonly last: LastTurn | null;
  /** The number up to which nothing is unread, when this was told. */
  readonly read: number;
  /** This device's read mark when this was told. */
  readonly mark: number | undefined;
}

/** Rows of a page; the server gives no more. */
const PAGE = 200;
/** No list is followed further than this. */
const PAGES = 500;
/** All of the lists are asked for again after so long: a turn that was erased further down moves nothing to the front. */
const WHOLE_MS = 60 * 60 * 1000;
/**
 * When that was last done, and how many conversations had no summary then. It is not there while a walk is beyond the
 * first page of a list: one that breaks off is done again as a whole, since the first page says nothing new the next time.
 */
const TOLD = "told";

export type Get = (path: string) => Promise<unknown>;
type Changed = (changes: ReadonlyMap<ConversationId, Summary>) => void;

export class Summaries {
  readonly #home: Home;
  readonly #get: Get;
  readonly #changed: Changed;
  readonly #markOf: (id: ConversationId) => number | undefined;
  readonly #untold: () => number;
  readonly #known = new Map<ConversationId, Summary>();
  #running: Promise<boolean> | undefined;
  #isLoaded = false;
  /** A walk is beyond the first page of a list, or broke off there. */
  #isWalking = false;

  /** `untold` counts the conversations that are known and have no summary. */
  constructor(
    home: Home,
    get: Get,
    markOf: (id: ConversationId) => number | undefined,
    untold: () => number,
    changed: Changed,
  ) {
    this.#home = home;
    this.#untold = untold;
    this.#get = get;
    this.#changed = changed;
    this.#markOf = markOf;
  }

  get(id: ConversationId): Summary | undefined {
    return this.#known.get(id);
  }

  get ids(): IterableIterator<ConversationId> {
    return this.#known.keys();
  }

  /** Reads what the device's store holds; what another page of this device fetched is then known here too. */
  async load(): Promise<void> {
    const changes = new Map<ConversationId, Summary>();
    for (const [key, value] of await this.#home.list("summary")) {
      const id = parseConversationId(key);
      const summary = value as Summary;
      if (id !== undefined && !isSame(this.#known.get(id), summary)) changes.set(id, summary);
    }
    this.#isLoaded = true;
    this.#enter(changes);
  }

  /** Takes what an open conversation says of itself: it knows more than any table. */
  async put(id: ConversationId, summary: Summary): Promise<void> {
    if (isSame(this.#known.get(id), summary)) return;
    this.#enter(new Map([[id, summary]]));
    await this.#home.write([[`summary/${id}`, summary]]);
  }

  async forget(id: ConversationId): Promise<void> {
    if (!this.#known.delete(id)) return;
    this.#changed(new Map([[id, { last: null, read: 0, mark: undefined }]]));
    await this.#home.write([[`summary/${id}`, undefined]]);
  }

  /** Asks the server, or waits for what is being asked. Answers whether anything was new. */
  async refresh(): Promise<boolean> {
    // A connection may be faster than the store: what is known already would be asked for again.
    if (!this.#isLoaded) return false;
    this.#running ??= this.#ask().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #ask(): Promise<boolean> {
    const told = await this.#home.read(TOLD);
    const [at, untold] = isRecord(told) ? [whole(told["at"]), whole(told["untold"])] : [];
    const isDue = this.#isWalking || Math.abs(Date.now() - (at ?? 0)) > WHOLE_MS;
    const isNew = await this.#follow(isDue);
    // What came by import stands where its turns were written, not first.
    if (!isDue && this.#untold() <= (untold ?? 0)) {
      if (this.#isWalking) await this.#end(told);
      return isNew;
    }
    const isMore = !isDue && (await this.#follow(true));
    await this.#end({ at: Date.now(), untold: this.#untold() });
    return isNew || isMore;
  }

  async #end(told: unknown): Promise<void> {
    this.#isWalking = false;
    await this.#home.write([[TOLD, told]]);
  }

  async #follow(isWhole: boolean): Promise<boolean> {
    let isNew = false;
    for (const list of ["", "&archived=true", "&deleted=true"]) {
      isNew = (await this.#fetch(list, isWhole)) || isNew;
    }
    return isNew;
  }

  /** Follows a list to its end, or to the first page after the pinned ones that says nothing new. */
  async #fetch(filter: string, isWhole: boolean): Promise<boolean> {
    let after = "";
    let isNew = false;
    for (let page = 0; page < PAGES; page += 1) {
      const answer = await this.#get(`/conversations?limit=${PAGE}${filter}${after}`);
      const items = isRecord(answer) && Array.isArray(answer["items"]) ? (answer["items"] as unknown[]) : [];
      const changes = new Map<ConversationId, Summary>();
      for (const item of items) {
        const read = readItem(item, this.#markOf);
        if (read !== undefined && !isSame(this.#known.get(read[0]), read[1])) changes.set(...read);
      }
      const next = isRecord(answer) ? text(answer["next"]) : undefined;
      const isPinned = isRecord(items.at(-1)) && (items.at(-1) as Record<string, unknown>)["pinned"] === true;
      const isEnd = next === undefined || (!isWhole && changes.size === 0 && !isPinned);
      this.#enter(changes);
      const entries: [string, unknown][] = [...changes].map(([id, row]) => [`summary/${id}`, row]);
      // Together with the rows: from here on this page says nothing new.
      if (!isEnd && !this.#isWalking) entries.push([TOLD, undefined]);
      this.#isWalking ||= !isEnd;
      if (entries.length > 0) await this.#home.write(entries);
      isNew ||= changes.size > 0;
      if (isEnd) return isNew;
      after = `&after=${encodeURIComponent(next)}`;
    }
    return isNew;
  }

  #enter(changes: ReadonlyMap<ConversationId, Summary>): void {
    if (changes.size === 0) return;
    for (const [id, summary] of changes) this.#known.set(id, summary);
    this.#changed(changes);
  }
}

function readItem(
  item: unknown,
  markOf: (id: ConversationId) => number | undefined,
): readonly [ConversationId, Summary] | undefined {
  if (!isRecord(item)) return undefined;
  const id = parseConversationId(text(item["id"]) ?? "");
  if (id === undefined) return undefined;
  const turn: unknown = item["last"];
  const unread = whole(item["unread"]) ?? 0;
  if (!isRecord(turn)) return [id, { last: null, read: 0, mark: markOf(id) }];
  const seq = whole(turn["seq"]) ?? 0;
  const last: LastTurn = {
    id: (text(turn["id"]) ?? "") as MessageId,
    seq,
    role: text(turn["role"]) ?? "user",
    preview: text(turn["preview"]) ?? "",
    at: whole(turn["at"]) ?? 0,
  };
  return [id, { last, read: Math.max(0, seq - unread), mark: markOf(id) }];
}

function isSame(a: Summary | undefined, b: Summary): boolean {
  if (a === undefined || a.read !== b.read) return false;
  if (a.last === null || b.last === null) return a.last === b.last;
  return a.last.id === b.last.id && a.last.seq === b.last.seq && a.last.preview === b.last.preview;
}
