/**
 * The Hocuspocus provider and its socket, narrowed where their own book-keeping could claim too much.
 */
import { HocuspocusProvider, HocuspocusProviderWebsocket, WebSocketStatus } from "@hocuspocus/provider";
import { createDecoder, readVarString, readVarUint, readVarUint8Array } from "lib0/decoding";
import { createEncoder, toUint8Array, writeUint8Array, writeVarUint8Array } from "lib0/encoding";
import * as Y from "yjs";
import { slicesOf } from "./slices.ts";
import type { Token } from "./token.ts";
import { turn } from "./turns.ts";

const SYNC = 0;
const SYNC_STATUS = 8;
/** Updates that are larger are applied in slices of that size, each a few milliseconds of work. */
const SLICE_BYTES = 32 * 1024;
const NO_CHANGES = Uint8Array.of(0, 0);
const TYPES = ["sync", "awareness", "auth", "query-awareness", "", "stateless", "", "close", "status"];
const SYNC_TYPES = ["step1", "step2", "update"];

/** A frame that went over the wire, for those who want to watch. */
export interface Frame {
  readonly direction: "out" | "in";
  /** Empty for the keep-alive, which names no document. */
  readonly document: string;
  /** `step1`, `step2`, `update`, `awareness`, `auth`, `stateless`, `close`, `status`, `ping`, `pong`. */
  readonly type: string;
  readonly bytes: number;
}

export interface SocketOptions {
  readonly url: string;
  readonly token: Token;
  readonly WebSocket?: typeof WebSocket | undefined;
  readonly heard?: ((frame: Frame) => void) | undefined;
}

/** The one socket of a device. */
export class DeviceSocket extends HocuspocusProviderWebsocket {
  readonly #token: Token;
  readonly #heard: ((frame: Frame) => void) | undefined;
  #attempts = 0;

  constructor({ url, token, WebSocket: socket, heard }: SocketOptions) {
    super({
      url,
      autoConnect: false,
      delay: 500,
      minDelay: 500,
      maxDelay: 5_000,
      ...(socket === undefined ? {} : { WebSocketPolyfill: socket }),
    });
    this.#token = token;
    this.#heard = heard;
    if (heard !== undefined) {
      this.on("message", ({ data }: MessageEvent<ArrayBuffer>) => {
        heard(describe("in", new Uint8Array(data)));
      });
    }
  }

  /**
   * Sends on an open socket, and drops what comes while there is none: the sync that begins the next connection
   * carries all of it. Queued updates would be acknowledged a second time there, and each surplus
   * acknowledgement would make a later edit look saved before it is.
   */
  override send(message: Uint8Array): void {
    if (this.webSocket?.readyState !== 1) return;
    super.send(message);
    this.#heard?.(describe("out", message));
  }

  /** Opens the socket once there is a token: without one it could only be refused. A failure is tried again. */
  override async createWebSocketConnection(): Promise<unknown> {
    // Else every document that joins meanwhile would begin another connection.
    this.status = WebSocketStatus.Connecting;
    this.#attempts += 1;
    const attempt = this.#attempts;
    try {
      await this.#token.current();
    } catch (error) {
      this.emit("close", { event: { code: 1006, reason: "there is no token" } });
      throw error;
    }
    if (attempt !== this.#attempts) throw new Error("another attempt is under way");
    if (!this.shouldConnect) {
      this.status = WebSocketStatus.Disconnected;
      throw new Error("switched off");
    }
    return super.createWebSocketConnection();
  }

  /** Cuts the connection at once, without waiting for the server's closing handshake. */
  override disconnect(): void {
    super.disconnect();
    if (this.webSocket !== null) {
      this.emit("close", { event: { code: 1000, reason: "switched off" } });
    }
  }
}

function describe(direction: Frame["direction"], bytes: Uint8Array): Frame {
  if (bytes.length < 2)
    return { direction, document: "", type: direction === "in" ? "ping" : "pong", bytes: 1 };
  const decoder = createDecoder(bytes);
  const document = readVarString(decoder);
  const kind = readVarUint(decoder);
  const type = (kind === 0 ? SYNC_TYPES[readVarUint(decoder)] : TYPES[kind]) ?? String(kind);
  return { direction, document, type, bytes: bytes.length };
}

export interface ProviderEvents {
  /** A connection began: all that is in the replica now is its first offer. */
  started(): void;
  /** The first `count` offers of this connection are on the server's disk. */
  saved(count: number): void;
  /** The server will not take an edit that it was sent. */
  refused(): void;
  /** A large update is being applied bit by bit, or all of it is. */
  filling(isFilling: boolean): void;
  /** A large update cannot be applied: what is here is not what was sent, and the sync has to begin anew. */
  unreadable(): void;
}

/**
 * The provider of one document. It counts offers and acknowledgements of a connection itself: the first offer is
 * the SyncStep2 that carries all that was here when the connection began, each update after that is one.
 */
export class DocumentProvider extends HocuspocusProvider {
  events: ProviderEvents | undefined;
  readonly #token: Token;
  #hasStarted = false;
  #hasFailed = false;
  #offered = 0;
  #saved = 0;
  /** What came while a large update is being applied, in its order. */
  #waiting: MessageEvent<ArrayBuffer>[] | undefined;
  /** Counts connections, so that the rest of an update of one that is gone is dropped: the next brings it. */
  #connection = 0;
  /** What was thrown first by those who heard of a large update. */
  #failure: { readonly error: unknown } | undefined;

  constructor(name: string, document: Y.Doc, websocketProvider: DeviceSocket, token: Token) {
    super({ name, document, websocketProvider, token: () => token.held });
    this.#token = token;
  }

  /** Offers of this connection so far; what is in the document now is among them. */
  get offered(): number {
    return this.#offered;
  }

  /** Offers of this connection that are on the server's disk. */
  get saved(): number {
    return this.#hasFailed ? 0 : Math.min(this.#saved, this.#offered);
  }

  override async onOpen(event: Event): Promise<void> {
    this.#hasStarted = false;
    await super.onOpen(event);
  }

  /** The server asks for a token in the middle of a connection when the last one runs out. */
  override async sendToken(): Promise<void> {
    if (this.#hasStarted) await this.#token.renew().catch(() => undefined);
    await super.sendToken();
  }

  override startSync(): void {
    this.#hasStarted = true;
    this.#hasFailed = false;
    this.#offered = 1;
    this.#saved = 0;
    this.events?.started();
    super.startSync();
  }

  /** What is written before the sync begins is part of it; sent on its own it would be acknowledged twice. */
  override documentUpdateHandler(update: Uint8Array, origin: unknown): void {
    if (origin === this || !this.#hasStarted) return;
    this.#offered += 1;
    super.documentUpdateHandler(update, origin);
  }

  override onClose(): void {
    this.#stopFilling();
    this.#hasStarted = false;
    this.#offered = 0;
    this.#saved = 0;
    super.onClose();
  }

  override destroy(): void {
    this.#stopFilling();
    super.destroy();
  }

  override onMessage(event: MessageEvent<ArrayBuffer>): void {
    if (this.#waiting !== undefined) this.#waiting.push(event);
    else if (event.data.byteLength <= SLICE_BYTES * 2) this.#receive(event);
    else
      this.#receiveLarge(event).catch((error: unknown) => {
        this.#stopFilling();
        tell("A large update cannot be applied; the connection begins anew", error);
        this.events?.unreadable();
      });
  }

  /** Whoever hears of it may throw: the rest comes nevertheless, as it does where an update is applied at once. */
  async #receiveLarge(event: MessageEvent<ArrayBuffer>): Promise<void> {
    const bytes = new Uint8Array(event.data);
    const decoder = createDecoder(bytes);
    readVarString(decoder);
    const isChange = readVarUint(decoder) === SYNC && readVarUint(decoder) !== 0;
    if (!isChange) {
      this.#attempt(() => this.#receive(event));
      return this.#tellFailure();
    }
    const head = bytes.slice(0, decoder.pos);
    const connection = this.#connection;
    const waiting: MessageEvent<ArrayBuffer>[] = [];
    this.#waiting = waiting;
    this.#attempt(() => this.events?.filling(true));
    try {
      for (const slice of slicesOf(readVarUint8Array(decoder), SLICE_BYTES)) {
        await turn();
        if (connection !== this.#connection) return;
        if (slice !== undefined) this.#apply(slice);
      }
      this.#waiting = undefined;
      this.#attempt(() => this.events?.filling(false));
      // The provider hears of it as of one message that brings nothing more.
      const rest = createEncoder();
      writeUint8Array(rest, head);
      writeVarUint8Array(rest, NO_CHANGES);
      const { buffer } = toUint8Array(rest);
      const whole = new MessageEvent("message", { data: buffer as ArrayBuffer });
      for (const message of [whole, ...waiting]) {
        if (connection !== this.#connection) return;
        this.#attempt(() => this.onMessage(message));
      }
    } finally {
      this.#tellFailure();
    }
  }

  /** Throws where the slice cannot be applied, not where a listener throws who hears of it. */
  #apply(slice: Uint8Array): void {
    let isApplied = false;
    const apply = () => {
      Y.applyUpdate(this.document, slice, this);
      isApplied = true;
    };
    try {
      // Within a transaction, since listeners are called at its end only.
      Y.transact(this.document, apply, this, false);
    } catch (error) {
      if (!isApplied) throw error;
      this.#failure ??= { error };
    }
  }

  #attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#failure ??= { error };
    }
  }

  #tellFailure(): void {
    if (this.#failure === undefined) return;
    tell("Caught an error of those who hear of an update", this.#failure.error);
    this.#failure = undefined;
  }

  #stopFilling(): void {
    this.#connection += 1;
    if (this.#waiting === undefined) return;
    this.#waiting = undefined;
    this.#attempt(() => this.events?.filling(false));
    this.#tellFailure();
  }

  #receive(event: MessageEvent<ArrayBuffer>): void {
    super.onMessage(event);
    const decoder = createDecoder(new Uint8Array(event.data));
    readVarString(decoder);
    if (readVarUint(decoder) !== SYNC_STATUS) return;
    if (readVarUint(decoder) === 1) this.#acknowledged();
    else {
      // From here on acknowledgements cannot be matched to what they are for: none of them counts.
      this.#hasFailed = true;
      this.events?.refused();
    }
  }

  #acknowledged(): void {
    this.#saved += 1;
    if (!this.#hasFailed) this.events?.saved(this.saved);
  }
}

/** As y-protocols tells of what listeners throw when an update is applied at once. */
function tell(what: string, error: unknown): void {
  // biome-ignore lint/suspicious/noConsole: it is the app's own error, or nothing that an app could mend
  console.error(what, error);
}
