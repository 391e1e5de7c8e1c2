/** What a device keeps for one user beside the documents: which of them may hold unsaved edits, caches, the clock. */

const STORE = "entries";

/** A small key-value store; keys are names with a topic before the first slash. */
export class Home {
  readonly #db: IDBDatabase;

  private constructor(db: IDBDatabase) {
    this.#db = db;
  }

  static async open(name: string): Promise<Home> {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    return new Home(await outcome(request));
  }

  async read(key: string): Promise<unknown> {
    return outcome(this.#store("readonly").get(key));
  }

  /** All entries of a topic. */
  async list(topic: string): Promise<readonly (readonly [key: string, value: unknown])[]> {
    const store = this.#store("readonly");
    const range = IDBKeyRange.bound(`${topic}/`, `${topic}/\uffff`);
    const [keys, values] = await Promise.all([
      outcome(store.getAllKeys(range)),
      outcome<unknown[]>(store.getAll(range)),
    ]);
    return keys.map((key, at) => [String(key).slice(topic.length + 1), values[at]]);
  }

  /** Resolves once it is in the store. */
  async write(entries: Iterable<readonly [key: string, value: unknown]>): Promise<void> {
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

  close(): void {
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
