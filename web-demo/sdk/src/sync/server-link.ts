/** Joins one document of this device to the server; lives in the page that holds the device's socket. */
import { isRecord } from "../model/json.ts";
import { type DeviceSocket, DocumentProvider } from "./connection.ts";
import { type LinkState, NO_LINK, type SyncedDocument } from "./document.ts";
import type { Counts } from "./ledger.ts";
import {
  type PeerDevice,
  type Refusal,
  type RefusalCode,
  readRefusedMessage,
  readStatusReport,
  receivedMessage,
  toDeviceKind,
  visibilityMessage,
} from "./status.ts";
import type { Token } from "./token.ts";

export interface LinkEvents {
  changed(state: LinkState): void;
  saved(counts: Counts): void;
  /** The server does not take the token: perhaps another one. */
  tokenRefused(reason: string): void;
  /** An edit was not taken. */
  rejected(refusal: Refusal): void;
  /** What the server sent cannot be applied: the sync has to begin anew. */
  unreadable(): void;
  /** The document was erased for good. */
  gone(reason: string): void;
}

/** Edits of a session that are offered once that many offers of the connection are. */
interface Mark {
  readonly position: number;
  readonly counts: Counts;
}

export class ServerLink {
  readonly #document: SyncedDocument;
  readonly #provider: DocumentProvider;
  readonly #socket: DeviceSocket;
  readonly #events: LinkEvents;
  readonly #listening: AbortController = new AbortController();
  #state: LinkState = NO_LINK;
  #marks: Mark[] = [];
  /** Why the server does not take an edit, as it said just before. */
  #told: Refusal | undefined;
  #isReceiving = false;
  #isClosed = false;

  constructor(document: SyncedDocument, socket: DeviceSocket, token: Token, events: LinkEvents) {
    this.#document = document;
    this.#socket = socket;
    this.#events = events;
    this.#provider = new DocumentProvider(document.name, document.doc, socket, token);
    document.serverOrigin = this.#provider;
    this.#watchProvider();
    this.#watchSocket();
    this.#provider.setAwarenessField("device", { ...document.device });
    this.#provider.attach();
  }

  get state(): LinkState {
    return this.#state;
  }

  /** Notes that an edit is in the replica, and with that among what is offered. */
  mark(session: string, number: number): void {
    const { offered, saved } = this.#provider;
    if (offered === 0) return;
    this.#marks.push({ position: offered, counts: { [session]: number } });
    // It was there already, and all of that is on the server's disk: no further word comes.
    if (saved === offered) this.#saved(saved);
  }

  setHidden(hidden: boolean): void {
    if (this.#state.phase === "joined") this.#provider.sendStateless(visibilityMessage(hidden));
  }

  /** The device was switched off, or on again. */
  setPhase(phase: "off" | "connecting"): void {
    this.#update({ phase, refusal: undefined });
  }

  close(): void {
    this.#isClosed = true;
    this.#listening.abort();
    this.#provider.destroy();
    this.#document.serverOrigin = undefined;
  }

  #watchProvider(): void {
    const provider = this.#provider;
    provider.events = {
      started: () => {
        this.#marks = [{ position: 1, counts: this.#document.made }];
      },
      saved: (count) => this.#saved(count),
      refused: () => this.#rejected(),
      filling: (isFilling) => this.#document.setFilling(isFilling),
      unreadable: () => this.#events.unreadable(),
    };
    // After the provider's own listener, which was there first: the edit is counted among its offers.
    const { doc, session } = this.#document;
    const edited = (_update: Uint8Array, origin: unknown) => {
      const made = this.#document.made[session] ?? 0;
      if (origin !== provider) this.mark(session, made);
    };
    doc.on("update", edited);
    this.#listening.signal.addEventListener("abort", () => doc.off("update", edited));
    provider.on("open", () => this.#update({ phase: "connecting", confirmed: false, refusal: undefined }));
    provider.on("synced", () => {
      this.#update({ phase: "joined" });
      void this.#receive();
    });
    provider.on("authenticationFailed", ({ reason }: { reason: string }) => this.#denied(reason));
    provider.on("stateless", ({ payload }: { payload: string }) => {
      this.#told = readRefusedMessage(payload, this.#document.name) ?? this.#told;
      const report = readStatusReport(payload, this.#document.name);
      if (report === undefined) return;
      this.#update({ report });
      void this.#receive();
    });
    provider.on("awarenessChange", () => this.#update({ present: this.#presentDevices() }));
  }

  #watchSocket(): void {
    const closed = ({ event }: { event: { code: number; reason: string } }) => {
      this.#marks = [];
      this.#update({
        confirmed: false,
        report: undefined,
        received: -1,
        ...(this.#state.phase === "off" ? {} : { phase: "lost" }),
      });
      const code = refusalOfClose(event.code);
      if (code === undefined) return;
      this.#refuse({ code, reason: event.reason || `the server closed the connection (${event.code})` });
    };
    this.#socket.on("close", closed);
    this.#listening.signal.addEventListener("abort", () => this.#socket.off("close", closed));
  }

  #saved(count: number): void {
    let counts: Counts = {};
    let at = 0;
    // Marks stand by position, and a session's numbers only grow: a later one says more.
    for (let mark = this.#marks[at]; mark !== undefined && mark.position <= count; mark = this.#marks[at]) {
      counts = { ...counts, ...mark.counts };
      at += 1;
    }
    this.#marks.splice(0, at);
    this.#update({ confirmed: true });
    this.#events.saved(counts);
  }

  #rejected(): void {
    const readOnly = this.#provider.authorizedScope === "readonly";
    const refusal: Refusal = readOnly
      ? {
          code: "read-only",
          reason: "this device may read this document, not change it; its edits stay here",
        }
      : (this.#told ?? {
          code: "update",
          reason: "the server did not take an edit; it stays on this device",
        });
    this.#refuse(refusal);
    if (!readOnly) this.#events.rejected(refusal);
  }

  #denied(reason: string): void {
    const code = codeOfDenial(reason);
    if (/expired/.test(reason)) this.#events.tokenRefused(reason);
    this.#refuse({ code, reason });
    if (code === "gone") this.#events.gone(reason);
  }

  #refuse(refusal: Refusal): void {
    this.#update({ refusal });
  }

  /**
   * Tells the server how much is in this device's own store. A status report follows the updates it counts on the
   * same connection, so once the first sync is through and the store has run all its writes, `saved` of
   * them are here. The browser may still lose them in a power cut: its stores promise no flush.
   */
  async #receive(): Promise<void> {
    if (this.#isReceiving) return;
    this.#isReceiving = true;
    try {
      for (;;) {
        const { phase, report, received } = this.#state;
        if (this.#isClosed || phase !== "joined" || report === undefined || report.saved <= received) return;
        await this.#document.whenStored();
        if (this.#isClosed || this.#state.report === undefined) return;
        this.#provider.sendStateless(receivedMessage(this.#document.name, report.saved));
        this.#update({ received: report.saved });
      }
    } finally {
      this.#isReceiving = false;
    }
  }

  #presentDevices(): readonly PeerDevice[] {
    const devices = new Map<string, PeerDevice>();
    for (const state of this.#provider.awareness?.getStates().values() ?? []) {
      const device: unknown = state["device"];
      if (!isRecord(device)) continue;
      const { id, name, kind } = device;
      if (typeof id !== "string" || typeof name !== "string" || id === this.#document.device.id) continue;
      const [behind, lastSeen] = [undefined, undefined];
      devices.set(id, { id, name, kind: toDeviceKind(kind), online: true, behind, lastSeen });
    }
    return [...devices.values()];
  }

  #update(change: Partial<LinkState>): void {
    if (this.#isClosed) return;
    this.#state = { ...this.#state, ...change };
    this.#events.changed(this.#state);
  }
}

/** Whether trying again would only bring the same answer: too big, or one of the server's permanent codes. */
function refusalOfClose(code: number): RefusalCode | undefined {
  if (code === 1009) return "too-big";
  if (code === 4401) return "unauthorized";
  // Which document is gone, each is told on its own.
  if (code === 4404) return undefined;
  return code >= 4400 && code < 4500 && code !== 4408 ? "forbidden" : undefined;
}

/** A denial is told in words only. */
function codeOfDenial(reason: string): RefusalCode {
  if (/^gone\b/.test(reason)) return "gone";
  if (/token/.test(reason)) return "unauthorized";
  if (/too (big|large)|at most|limit/.test(reason)) return "too-big";
  return "forbidden";
}
