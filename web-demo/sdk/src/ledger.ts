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

const PREFIX = "edits/";
const STORES = ["updates", "custom"];

export class Ledger {
  readonly #db: IDBDatabase;
  readonly #key: string;
  /** Edits that were unsaved when this page opened: entry key -> number made. */
  readonly #inherited: Map<string, number>;
  #inheritedUnsaved: number;
  #made = 0;
  #saved = 0;

  private constructor(db: IDBDatabase, session: string, entries: ReadonlyMap<string, Entry>) {
    this.#db = db;
    this.#key = PREFIX + session;
    this.#inherited = new Map([...entries].map(([key, entry]) => [key, entry.made]));
    this.#inheritedUnsaved = [...entries.values()].reduce((sum, entry) => sum + entry.made - entry.saved, 0);
  }

  static async open(db: IDBDatabase, session: string): Promise<Ledger> {
    const store = db.transaction(STORES, "readonly").objectStore("custom");
    const range = IDBKeyRange.bound(PREFIX, `${PREFIX}\uffff`);
    const [keys, values] = await Promise.all([
      outcome(store.getAllKeys(range)),
      outcome<unknown[]>(store.getAll(range)),
    ]);
    const entries = new Map(keys.map((key, at) => [String(key), toEntry(values[at])]));
    return new Ledger(db, session, entries);
  }

  /** Edits of this device of which the server has not said that they are on disk. */
  get unsaved(): number {
    return this.#inheritedUnsaved + this.#made - this.#saved;
  }

  /** Counts one edit; call it before y-indexeddb hears of the edit. */
  add(): void {
    this.#made += 1;
    this.#write();
  }

  /** The server has everything but the last `outstanding` edits of this page. */
  confirm(outstanding: number): void {
    this.#saved = Math.max(this.#saved, this.#made - outstanding);
    this.#inheritedUnsaved = 0;
    this.#write();
    for (const [key, made] of this.#inherited) this.#settle(key, made);
    this.#inherited.clear();
  }

  /** Resolves once all that was given to y-indexeddb so far is in its store. */
  async stored(): Promise<void> {
    await outcome(this.#db.transaction(STORES, "readonly").objectStore("updates").count());
  }

  #write(): void {
    const store = this.#db.transaction(STORES, "readwrite").objectStore("custom");
    if (this.#made === this.#saved) store.delete(this.#key);
    else store.put({ made: this.#made, saved: this.#saved } satisfies Entry, this.#key);
    // Without waiting for the answer: y-indexeddb's write of the edit stands behind this one.
    store.transaction.commit();
  }

  /** Marks another session's edits as saved, unless that page is still open and has made more since. */
  #settle(key: string, made: number): void {
    const store = this.#db.transaction(STORES, "readwrite").objectStore("custom");
    const request: IDBRequest<unknown> = store.get(key);
    request.onsuccess = () => {
      if (request.result === undefined) return;
      const entry = toEntry(request.result);
      const saved = Math.max(entry.saved, made);
      if (saved >= entry.made) store.delete(key);
      else store.put({ made: entry.made, saved } satisfies Entry, key);
    };
  }
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
