// @ts-check
/** Stands between the page and the server: holds back acknowledgements, or turns an admission into a denial. */

const SYNC = 0;
const AUTH = 2;
const SYNC_STATUS = 8;
/** @type {Readonly<Record<number, string>>} */
const CARRIERS = { 1: "SyncStep2", 2: "Update" };
const PATIENCE_MS = 15_000;

export class Wire {
  #holding = false;
  /** @type {(() => void)[]} */
  #held = [];
  /** @type {string | undefined} */
  #denial;
  /** @type {(() => void) | undefined} */
  #arrived;
  /** What the page offered to be saved since `hold`; the server owes one acknowledgement for each. @type {string[]} */
  offered = [];

  /** @param {import("playwright-core").BrowserContext} context */
  async watch(context) {
    await context.routeWebSocket(/\/sync\?/, (page) => {
      const server = page.connectToServer();
      page.onMessage((message) => {
        const frame = typeof message === "string" ? undefined : parse(message);
        const carrier = frame?.type === SYNC ? CARRIERS[frame.subtype] : undefined;
        if (carrier !== undefined) this.offered.push(carrier);
        server.send(message);
      });
      server.onMessage((message) => {
        const frame = typeof message === "string" ? undefined : parse(message);
        if (frame?.type === SYNC_STATUS && this.#holding) {
          this.#held.push(() => page.send(message));
          this.#arrived?.();
        } else if (frame?.type === AUTH && this.#denial !== undefined) {
          page.send(denied(frame.address, this.#denial));
        } else if (frame === undefined || this.#denial === undefined) {
          page.send(message);
        }
      });
    });
  }

  /** Keeps back every acknowledgement from now on. */
  hold() {
    this.#holding = true;
    this.#held = [];
    this.offered = [];
  }

  /**
   * Resolves once `count` acknowledgements are kept back.
   * @param {number} count
   */
  async held(count) {
    /** @type {Promise<void>} */
    const enough = new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`only ${this.#held.length} of ${count} came`)),
        PATIENCE_MS,
      );
      this.#arrived = () => {
        if (this.#held.length < count) return;
        clearTimeout(timer);
        resolve();
      };
    });
    this.#arrived?.();
    await enough;
  }

  /**
   * Lets the oldest `count` through and goes on holding; without a number, all, and holds no more.
   * @param {number} [count]
   */
  release(count) {
    if (count === undefined) this.#holding = false;
    for (const send of this.#held.splice(0, count ?? this.#held.length)) send();
  }

  /** @param {string} reason */
  deny(reason) {
    this.#denial = reason;
  }
}

/** @param {Buffer} frame */
function parse(frame) {
  if (frame.length < 2) return undefined;
  const at = 1 + frame.readUInt8(0);
  return { address: frame.subarray(0, at), type: frame.readUInt8(at), subtype: frame[at + 1] ?? -1 };
}

/**
 * @param {Buffer} address
 * @param {string} reason
 */
function denied(address, reason) {
  return Buffer.concat([address, Buffer.from([AUTH, 1, reason.length]), Buffer.from(reason)]);
}
