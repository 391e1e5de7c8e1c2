/**
 * Remembers across reloads which edits of this device the server has confirmed.
 *
 * It lives in the same IndexedDB database as y-indexeddb's updates. Every edit is marked as made in a
 * transaction that covers the `updates` store as well and is opened before y-indexeddb opens its own: IndexedDB
 * runs overlapping transactions in order, so no stored edit can ever lack its mark. What is cut off by a crash
 * is therefore counted as unsaved, never as saved.
 *
 * Each open page ("session") counts its own edits; both numbers of an entry only grow, so pages of one device
 * that are open side by side cannot confirm each other's edits by accident.
 */

interface Entry {
  readonly made: number;
  readonly saved: number;
}

/** For some sessions, a number of edits. */
export type Counts = Readonly<Record<string, number>>;

const PREFIX = "edits/";
const STORES = ["updates", "custom"];

export class Ledger {
  readonly #db: IDBDatabase;
  readonly #session: string;
  readonly #entries: Map<string, Entry>;

  private constructor(db: IDBDatabase, session: string, entries: Map<string, Entry>) {
    this.#db = db;
    this.#session = session;
    this.#entries = entries;
    entries.set(session, { made: 0, saved: 0 });
  }

  static async open(db: IDBDatabase, session: string): Promise<Ledger> {
    return new Ledger(db, session, await readEntries(db));
  }

  /** Edits of this device of which the server has not said that they are on disk. */
  get unsaved(): number {
    let unsaved = 0;
    for (const { made, saved } of this.#entries.values()) unsaved += made - saved;
    return unsaved;
  }

  /** How many edits each session made. */
  get made(): Counts {
    return Object.fromEntries([...this.#entries].map(([session, { made }]) => [session, made]));
  }

  /** Edits of this session. */
  get own(): number {
    return this.#entry(this.#session).made;
  }

  /** Counts one edit of this session; call it before y-indexeddb hears of the edit. */
  add(): number {
    const { made, saved } = this.#entry(this.#session);
    this.#entries.set(this.#session, { made: made + 1, saved });
    this.#write();
    return made + 1;
  }

  /** Another page of this device made that many edits; it keeps its own entry in the store. */
  heard(session: string, made: number): void {
    const entry = this.#entry(session);
    if (session !== this.#session && made > entry.made) this.#entries.set(session, { ...entry, made });
  }

  /** The server has that many edits of each of these sessions. */
  confirm(saved: Counts): void {
    for (const [session, count] of Object.entries(saved)) {
      const entry = this.#entry(session);
      if (count <= entry.saved) continue;
      const next = { made: Math.max(entry.made, count), saved: count };
      if (session === this.#session) {
        this.#entries.set(session, { made: entry.made, saved: Math.min(count, entry.made) });
        this.#write();
      } else {
        this.#entries.set(session, next);
        this.#settle(session, count);
      }
    }
  }

  /** Resolves once all that was given to y-indexeddb so far is in its store. */
  async stored(): Promise<void> {
    await outcome(this.#db.transaction(STORES, "readonly").objectStore("updates").count());
  }

  #entry(session: string): Entry {
    return this.#entries.get(session) ?? { made: 0, saved: 0 };
  }

  #write(): void {
    const entry = this.#entry(this.#session);
    const store = this.#db.transaction(STORES, "readwrite").objectStore("custom");
    const key = PREFIX + this.#session;
    if (entry.made === entry.saved) store.delete(key);
    else store.put(entry, key);
    // Without waiting for the answer: y-indexeddb's write of the edit stands behind this one.
    store.transaction.commit();
  }

  /** Marks another session's edits as saved, unless that page is still open and has made more since. */
  #settle(session: string, count: number): void {
    const key = PREFIX + session;
    const store = this.#db.transaction(STORES, "readwrite").objectStore("custom");
    const request: IDBRequest<unknown> = store.get(key);
    request.onsuccess = () => {
      if (request.result === undefined) return;
      const { made, saved } = toEntry(request.result);
      const now = Math.max(saved, count);
      if (now >= made) store.delete(key);
      else store.put({ made, saved: now } satisfies Entry, key);
    };
  }
}

/** Edits in a store that is not open of which the server has not said that they are on disk. */
export async function unsavedIn(storeName: string): Promise<number> {
  const request = indexedDB.open(storeName);
  // One that is not there is not made: y-indexeddb would miss its own stores in it.
  request.onupgradeneeded = () => request.transaction?.abort();
  const db = await outcome(request).catch(() => undefined);
  if (db === undefined) return 0;
  try {
    const entries = await readEntries(db);
    return [...entries.values()].reduce((sum, { made, saved }) => sum + made - saved, 0);
  } finally {
    db.close();
  }
}

async function readEntries(db: IDBDatabase): Promise<Map<string, Entry>> {
  const store = db.transaction(STORES, "readonly").objectStore("custom");
  const range = IDBKeyRange.bound(PREFIX, `${PREFIX}\uffff`);
  const [keys, values] = await Promise.all([
    outcome(store.getAllKeys(range)),
    outcome<unknown[]>(store.getAll(range)),
  ]);
  return new Map(keys.map((key, at) => [String(key).slice(PREFIX.length), toEntry(values[at])]));
}

function toEntry(value: unknown): Entry {
  const { made, saved } = (value ?? {}) as Partial<Entry>;
  return { made: made ?? 0, saved: saved ?? 0 };
}

function outcome<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the device's store cannot be read"));
  });
}
