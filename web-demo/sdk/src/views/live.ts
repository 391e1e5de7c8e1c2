/** A value that changes: what `useSyncExternalStore` wants, and anything else that can be told of changes. */

export interface Live<T> {
  /** The value as it is now; the same object for as long as nothing changed. */
  readonly value: T;
  /** Calls `listener` after every change; returns what ends that. */
  subscribe(listener: () => void): () => void;
}

/** The listeners of a live value. */
export class Listeners {
  readonly #listeners = new Set<() => void>();

  get size(): number {
    return this.#listeners.size;
  }

  add(listener: () => void): () => void {
    // Each subscription counts on its own, whatever function it brings.
    const own = () => listener();
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  clear(): void {
    this.#listeners.clear();
  }
}

/** A live value that is computed when it is asked for, and only if something changed since. */
export class Computed<T> implements Live<T> {
  readonly #compute: (before: T | undefined) => T;
  readonly #listeners = new Listeners();
  #value: T | undefined;
  #isStale = true;

  constructor(compute: (before: T | undefined) => T) {
    this.#compute = compute;
  }

  get value(): T {
    if (this.#isStale || this.#value === undefined) {
      this.#value = this.#compute(this.#value);
      this.#isStale = false;
    }
    return this.#value;
  }

  readonly subscribe = (listener: () => void): (() => void) => this.#listeners.add(listener);

  /** Says that the value may have changed. */
  invalidate(): void {
    this.#isStale = true;
    this.#listeners.tell();
  }
}

/** Keeps the array of before where every element is the same. */
export function keepSame<T>(before: readonly T[] | undefined, now: readonly T[]): readonly T[] {
  const isSame = before?.length === now.length && now.every((item, at) => item === before[at]);
  return isSame && before !== undefined ? before : now;
}
