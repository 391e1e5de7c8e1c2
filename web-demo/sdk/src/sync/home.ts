/** What a device keeps for one user beside the documents: which of them may hold unsaved edits, caches, the clock. */

const STORE = "entries";

/** A small key-value store; keys are names with a topic before the first slash. */
export class Home {
  readonly #db: IDBDatabase;
  #isClosed = false;

  private constructor(db: IDBDatabase) {
    this.#db = db;
  }

  static async open(name: string): Promise<Home> {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    return new Home(await outcome(request));
  }

  async read(key: string): Promise<unknown> {
    if (this.#isClosed) return undefined;
    return outcome(this.#store("readonly").get(key));
  }

  /** All entries of a topic. */
  async list(topic: string): Promise<readonly (readonly [key: string, value: unknown])[]> {
    if (this.#isClosed) return [];
    const store = this.#store("readonly");
    const range = IDBKeyRange.bound(`${topic}/`, `${topic}/\uffff`);
    const [keys, values] = await Promise.all([
      outcome(store.getAllKeys(range)),
      outcome<unknown[]>(store.getAll(range)),
    ]);
    return keys.map((key, at) => [String(key).slice(topic.length + 1), values[at]]);
  }

  /**
   * Resolves once it is in the store. What comes after the end is dropped: what is kept here can be had again, and a
   * document that is still noted as open is only looked at once more.
   */
  async write(entries: Iterable<readonly [key: string, value: unknown]>): Promise<void> {
    if (this.#isClosed) return;
    const store = this.#store("readwrite");
    for (const [key, value] of entries) {
      if (value === undefined) store.delete(key);
      else store.put(value, key);
    }
    await new Promise<void>((resolve, reject) => {
      store.transaction.oncomplete = () => resolve();
      store.transaction.onerror = () =>
        reject(store.transaction.error ?? new Error("the store takes nothing"));
    });
  }

  /** Removes an entry, unless another value was written there since it was read. */
  async removeIf(key: string, value: unknown): Promise<void> {
    if (this.#isClosed) return;
    const store = this.#store("readwrite");
    if ((await outcome<unknown>(store.get(key))) === value) await outcome(store.delete(key));
  }

  close(): void {
    this.#isClosed = true;
    this.#db.close();
  }

  #store(mode: IDBTransactionMode): IDBObjectStore {
    return this.#db.transaction(STORE, mode).objectStore(STORE);
  }
}

function outcome<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the device's store cannot be used"));
  });
}
