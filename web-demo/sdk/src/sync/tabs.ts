/**
 * The pages of one device in one browser: one of them leads and holds the socket, the others sync through it.
 *
 * Leadership is a Web Lock, so it passes on by itself when the leading page goes, whatever way it goes. A leader that
 * a visible page cannot wake (a frozen background page) loses it to that page. Without Web Locks every page leads.
 */
import type { DocumentName } from "../model/ids.ts";
import { randomName } from "../model/ids.ts";
import type { Edit, LinkState } from "./document.ts";
import type { Counts } from "./ledger.ts";
import type { Status } from "./status.ts";

/** How long a visible page waits for a sign of its leader. */
const LEADER_TIMEOUT_MS = 5_000;

export type TabId = string & { readonly __brand: "TabId" };

export type TabMessage =
  /** Is anybody leading? */
  | { readonly kind: "hello" }
  | { readonly kind: "lead" }
  /** A page has the document open, with this state vector. */
  | { readonly kind: "want"; readonly document: DocumentName; readonly state: Uint8Array }
  | { readonly kind: "unwant"; readonly document: DocumentName }
  /** What the leader has beyond that, and its own state vector. */
  | {
      readonly kind: "diff";
      readonly document: DocumentName;
      readonly update: Uint8Array;
      readonly state: Uint8Array;
    }
  /** Something that an edit builds on is missing: want the document again. */
  | { readonly kind: "lack"; readonly document: DocumentName }
  | { readonly kind: "edit"; readonly document: DocumentName; readonly edit: Edit }
  | { readonly kind: "link"; readonly document: DocumentName; readonly link: LinkState }
  | { readonly kind: "saved"; readonly document: DocumentName; readonly counts: Counts }
  | { readonly kind: "overall"; readonly status: Status }
  | { readonly kind: "power"; readonly isOn: boolean }
  | { readonly kind: "visible"; readonly isVisible: boolean }
  /** Something in the store that all pages share was changed. */
  | { readonly kind: "news"; readonly topic: string };

interface Envelope {
  readonly from: TabId;
  readonly to: TabId | undefined;
  readonly message: TabMessage;
}

export interface TabEvents {
  /** This page leads from now on. */
  led(): void;
  /** Another page took over. */
  unled(): void;
  heard(message: TabMessage, from: TabId): void;
  /** Another page is gone. */
  left(tab: TabId): void;
}

export class Tabs {
  readonly id = randomName(10) as TabId;
  readonly #scope: string;
  readonly #events: TabEvents;
  readonly #locks: LockManager | undefined;
  readonly #channel: BroadcastChannel | undefined;
  readonly #closing = new AbortController();
  readonly #known = new Set<TabId>();
  #isLeader = false;
  #waiting: ReturnType<typeof setTimeout> | undefined;

  constructor(scope: string, events: TabEvents) {
    this.#scope = scope;
    this.#events = events;
    this.#locks = typeof navigator === "undefined" ? undefined : navigator.locks;
    const isShared = this.#locks !== undefined && typeof BroadcastChannel !== "undefined";
    this.#channel = isShared ? new BroadcastChannel(scope) : undefined;
    if (this.#channel === undefined) return;
    this.#channel.onmessage = ({ data }: MessageEvent<Envelope>) => this.#heard(data);
    if (typeof document !== "undefined") document.addEventListener("visibilitychange", this.#seen);
  }

  get isLeader(): boolean {
    return this.#isLeader;
  }

  /** Begins to lead, or to wait for it. */
  start(): void {
    if (this.#channel === undefined || this.#locks === undefined) {
      this.#isLeader = true;
      this.#events.led();
      return;
    }
    void this.#hold(`${this.#scope}/tab/${this.id}`, {}).catch(() => undefined);
    void this.#campaign({});
    this.send({ kind: "hello" });
    this.#expectLeader();
  }

  send(message: TabMessage, to?: TabId): void {
    this.#channel?.postMessage({ from: this.id, to, message } satisfies Envelope);
  }

  close(): void {
    this.#closing.abort();
    clearTimeout(this.#waiting);
    if (typeof document !== "undefined") document.removeEventListener("visibilitychange", this.#seen);
    this.#isLeader = false;
    this.#channel?.close();
  }

  async #campaign(options: LockOptions): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        await this.#hold(this.#scope, options, () => this.#lead());
        return;
      } catch {
        // Stolen: another page could not wake this one. It waits in line again.
        if (this.#isLeader) {
          this.#isLeader = false;
          this.#events.unled();
        }
        options = {};
        if (signal.aborted) return;
      }
    }
  }

  /** Holds a lock until this page closes. */
  async #hold(name: string, options: LockOptions, held?: () => void): Promise<void> {
    const { signal } = this.#closing;
    // A steal cannot wait, and so takes no signal.
    await this.#locks?.request(name, options.steal === true ? options : { ...options, signal }, () => {
      held?.();
      return new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    });
  }

  #lead(): void {
    clearTimeout(this.#waiting);
    this.#waiting = undefined;
    this.#isLeader = true;
    this.#events.led();
    this.send({ kind: "lead" });
  }

  #heard({ from, to, message }: Envelope): void {
    if (to !== undefined && to !== this.id) return;
    this.#meet(from);
    if (message.kind === "hello") {
      if (this.#isLeader) this.send({ kind: "lead" }, from);
      return;
    }
    if (message.kind === "lead" || message.kind === "link" || message.kind === "diff") {
      clearTimeout(this.#waiting);
      this.#waiting = undefined;
    }
    this.#events.heard(message, from);
  }

  /** Learns when another page goes: its lock becomes free. */
  #meet(tab: TabId): void {
    if (this.#known.has(tab) || this.#locks === undefined) return;
    this.#known.add(tab);
    const { signal } = this.#closing;
    const gone = () => {
      this.#known.delete(tab);
      this.#events.left(tab);
    };
    void this.#locks
      .request(`${this.#scope}/tab/${tab}`, { mode: "shared", signal }, gone)
      .catch(() => undefined);
  }

  readonly #seen = (): void => {
    if (document.visibilityState !== "visible" || this.#isLeader) return;
    this.send({ kind: "hello" });
    this.#expectLeader();
  };

  #expectLeader(): void {
    clearTimeout(this.#waiting);
    this.#waiting = setTimeout(() => {
      const isVisible = typeof document === "undefined" || document.visibilityState === "visible";
      if (!this.#isLeader && isVisible) void this.#campaign({ steal: true });
    }, LEADER_TIMEOUT_MS);
  }
}
