/** Hybrid logical clocks: `"{13-digit unix ms}-{4 hex}"`, compared as text across devices whose clocks disagree. */

export type Hlc = string & { readonly __brand: "Hlc" };

const HLC = /^\d{13}-[0-9a-f]{4}$/;
/** How far ahead of the server a time may be before its register is overruled. */
export const FUTURE_MS = 5 * 60 * 1000;
const LAST_MS = 9_999_999_999_999;

export function parseHlc(value: unknown): Hlc | undefined {
  return typeof value === "string" && HLC.test(value) ? (value as Hlc) : undefined;
}

/** The first time of a millisecond. */
export function hlcAt(ms: number): Hlc {
  return make(Math.min(Math.max(0, Math.floor(ms)), LAST_MS), 0);
}

/** Its unix milliseconds. */
export function hlcMs(hlc: Hlc): number {
  return Number(hlc.slice(0, 13));
}

function make(ms: number, count: number): Hlc {
  return `${String(ms).padStart(13, "0")}-${count.toString(16).padStart(4, "0")}` as Hlc;
}

function after(hlc: Hlc): Hlc {
  const count = Number.parseInt(hlc.slice(14), 16) + 1;
  return count > 0xffff ? make(hlcMs(hlc) + 1, 0) : make(hlcMs(hlc), count);
}

/** One writer's clock, corrected by the server's. */
export class Clock {
  readonly #wall: () => number;
  #offset = 0;
  #last = make(0, 0);

  constructor(wall: () => number = Date.now) {
    this.#wall = wall;
  }

  /** Unix milliseconds as the server counts them. */
  get now(): number {
    return this.#wall() + this.#offset;
  }

  /** What is added to this device's clock. */
  get offset(): number {
    return this.#offset;
  }

  /**
   * Goes by the server's time from now on. What this device wrote while its clock ran ahead is overruled by the
   * server; going on from there would write into the future for as long as the clock was wrong.
   */
  correct(offset: number): void {
    this.#offset = Math.round(offset);
    if (hlcMs(this.#last) > this.now + FUTURE_MS) this.#last = hlcAt(this.now);
  }

  /** A time later than all that it gave or saw. */
  tick(): Hlc {
    const now = hlcAt(this.now);
    const next = after(this.#last);
    this.#last = next > now ? next : now;
    return this.#last;
  }

  /** Takes note of a time seen elsewhere; one from the future would drag this clock along, and is left out. */
  observe(seen: Hlc): void {
    if (seen > this.#last && hlcMs(seen) <= this.now + FUTURE_MS) this.#last = seen;
  }
}
