/**
 * The network of one device: online, slow, flaky or off.
 *
 * It sits under the device's socket and its HTTP requests, as a bad train connection does: frames come late but in order,
 * connections break in the middle of everything, and nothing above is told in advance.
 */
import { Store } from "./store.ts";

export type Mode = "online" | "slow" | "flaky" | "offline";
export const MODES: readonly Mode[] = ["online", "slow", "flaky", "offline"];

/** One way, in milliseconds: at least, and up to so much more. */
const DELAY: Readonly<Record<Mode, readonly [number, number]>> = {
  online: [0, 0],
  slow: [350, 250],
  flaky: [40, 260],
  offline: [0, 0],
};
/** A flaky network holds so long, and is gone for so long. */
const HOLDS_MS: readonly [number, number] = [1_500, 3_500];
const GONE_MS: readonly [number, number] = [400, 1_600];

const between = ([least, more]: readonly [number, number]) => least + Math.random() * more;

/** Hands things on in their order, each after a delay. */
class Lane {
  #due = 0;

  pass(delay: number, then: () => void): void {
    const now = performance.now();
    this.#due = Math.max(this.#due, now + delay);
    if (this.#due <= now) then();
    else setTimeout(then, this.#due - now);
  }
}

export class Network {
  readonly mode: Store<Mode>;
  /** Whether a flaky network is gone just now. */
  readonly gap = new Store(false);
  readonly WebSocket: typeof WebSocket;
  readonly #key: string;
  readonly #sockets = new Set<WebSocket>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(name: string) {
    this.#key = `syncline.network.${name}`;
    this.mode = new Store(readMode(localStorage.getItem(this.#key)));
    this.WebSocket = socketOn(this, this.#sockets);
    this.#keep();
  }

  /** Changes the network; the choice outlives the page, as a real device's flight mode does. */
  set(mode: Mode): void {
    localStorage.setItem(this.#key, mode);
    this.mode.set(mode);
    this.#keep();
  }

  readonly fetch: typeof fetch = async (input, init) => {
    await this.#travel();
    const answer = await fetch(input, init);
    await this.#travel();
    return answer;
  };

  get delay(): number {
    return between(DELAY[this.mode.value]);
  }

  get isGone(): boolean {
    return this.mode.value === "offline" || this.gap.value;
  }

  async #travel(): Promise<void> {
    const { delay } = this;
    if (delay > 0) await new Promise((resolve) => setTimeout(resolve, delay));
    if (this.isGone) throw new TypeError("the network is gone");
  }

  #keep(): void {
    clearTimeout(this.#timer);
    this.gap.set(false);
    if (this.mode.value === "flaky") this.#timer = setTimeout(() => this.#break(), between(HOLDS_MS));
  }

  #break(): void {
    this.gap.set(true);
    for (const socket of this.#sockets) socket.close();
    this.#timer = setTimeout(() => this.#keep(), between(GONE_MS));
  }
}

type Heard = EventListenerOrEventListenerObject;

/** The browser's WebSocket, over such a network. */
function socketOn(network: Network, open: Set<WebSocket>): typeof WebSocket {
  return class extends WebSocket {
    readonly #out = new Lane();
    readonly #in = new Lane();
    readonly #delayed = new WeakMap<Heard, Heard>();

    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols);
      open.add(this);
      super.addEventListener("close", () => open.delete(this));
      if (network.isGone) this.close();
    }

    override send(data: Parameters<WebSocket["send"]>[0]): void {
      this.#out.pass(network.delay, () => {
        if (this.readyState === WebSocket.OPEN) super.send(data);
      });
    }

    override addEventListener(
      type: string,
      listener: Heard,
      options?: boolean | AddEventListenerOptions,
    ): void {
      if (type !== "message") {
        super.addEventListener(type, listener, options);
        return;
      }
      const late = (event: Event) =>
        this.#in.pass(network.delay, () => {
          if (this.readyState !== WebSocket.OPEN) return;
          if (typeof listener === "function") listener.call(this, event);
          else listener.handleEvent(event);
        });
      this.#delayed.set(listener, late);
      super.addEventListener(type, late, options);
    }

    override removeEventListener(
      type: string,
      listener: Heard,
      options?: boolean | EventListenerOptions,
    ): void {
      super.removeEventListener(type, this.#delayed.get(listener) ?? listener, options);
    }
  };
}

function readMode(stored: string | null): Mode {
  return MODES.find((mode) => mode === stored) ?? "online";
}
