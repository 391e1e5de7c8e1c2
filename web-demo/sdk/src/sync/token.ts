/** The token, fetched when one is needed and never more often: all documents of a connection share it. */
import { isRecord, parse, text, whole } from "../model/json.ts";

/** A token, or whatever gets one: called at first, and again when the server says that the last one has expired. */
export type TokenSource = string | (() => string | Promise<string>);

/** A token this close to its end is not used for a new connection. */
const MARGIN_MS = 5_000;

export interface Claims {
  readonly user: string | undefined;
  readonly device: string | undefined;
  /** Unix milliseconds. */
  readonly expires: number | undefined;
}

/** Reads what a token says, without checking it: that is the server's task. */
export function readClaims(token: string): Claims {
  const payload = token.split(".")[1] ?? "";
  const claims = parse(decodeBase64Url(payload));
  if (!isRecord(claims)) return { user: undefined, device: undefined, expires: undefined };
  const expires = whole(claims["exp"]);
  return {
    user: text(claims["sub"]),
    device: text(claims["device"]),
    expires: expires === undefined ? undefined : expires * 1000,
  };
}

function decodeBase64Url(encoded: string): string {
  try {
    const binary = atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
    return new TextDecoder().decode(Uint8Array.from(binary, (char) => char.charCodeAt(0)));
  } catch {
    return "";
  }
}

export class Token {
  readonly #source: TokenSource;
  #held: string | undefined;
  #fetching: Promise<string> | undefined;

  constructor(source: TokenSource = "") {
    this.#source = source;
    if (typeof source === "string") this.#held = source;
  }

  /** Whether asking again can bring another one. */
  get isRenewable(): boolean {
    return typeof this.#source === "function";
  }

  /** The token as it is held; empty while there is none. */
  get held(): string {
    return this.#held ?? "";
  }

  /** A token that has not run out, as far as its own word goes. */
  async current(now: number = Date.now()): Promise<string> {
    const expires = this.#held === undefined ? undefined : readClaims(this.#held).expires;
    const isOver = expires !== undefined && expires <= now + MARGIN_MS;
    if (this.#held !== undefined && !(isOver && this.isRenewable)) return this.#held;
    return this.renew();
  }

  /** Gets another one; several who ask at once get the same. */
  async renew(): Promise<string> {
    if (typeof this.#source === "string") return this.#source;
    this.#fetching ??= this.#fetch(this.#source).finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  /** Forgets what the server did not take. */
  invalidate(): void {
    if (this.isRenewable) this.#held = undefined;
  }

  async #fetch(source: () => string | Promise<string>): Promise<string> {
    this.#held = await source();
    return this.#held;
  }
}
