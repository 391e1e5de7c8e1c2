/** One document in one page: its replica, the device's store, its edits, and what can truthfully be said of them. */
import { fetchUpdates, IndexeddbPersistence } from "y-indexeddb";
import * as Y from "yjs";
import type { DocumentName } from "../model/ids.ts";
import { randomName } from "../model/ids.ts";
import { same } from "../model/json.ts";
import { type Counts, Ledger } from "./ledger.ts";
import type { Device, PeerDevice, Refusal, Status, StatusReport } from "./status.ts";

/** How this device stands to the server for one document; the page that holds the socket tells the others. */
export interface LinkState {
  readonly phase: "off" | "lost" | "connecting" | "joined";
  /** Whether the server has confirmed this device's state since the connection began. */
  readonly confirmed: boolean;
  readonly refusal: Refusal | undefined;
  readonly report: StatusReport | undefined;
  /** Devices that are present right now, by what they say of themselves. */
  readonly present: readonly PeerDevice[];
  /** The newest durable sequence number known to be in this device's own store. */
  readonly received: number;
}

export const NO_LINK: LinkState = {
  phase: "off",
  confirmed: false,
  refusal: undefined,
  report: undefined,
  present: [],
  received: -1,
};

/** What a page tells the others of one edit. */
export interface Edit {
  readonly update: Uint8Array;
  /** Whose edit, and the how-manieth; undefined for what came from the server. */
  readonly session: string | undefined;
  readonly number: number;
}

/** Opens the device's own copy, offline or not. */
export async function openCopy(
  name: DocumentName,
  device: Device,
  storeName: string,
): Promise<SyncedDocument> {
  const doc = new Y.Doc();
  // Heard before y-indexeddb hears of an edit, as the ledger requires.
  const edits = new EditListener(doc);
  const store = new IndexeddbPersistence(storeName, doc);
  await store.whenSynced;
  if (store.db === null) throw new Error("this device's store did not open");
  const session = randomName(12);
  const ledger = await Ledger.open(store.db, session);
  // Another page may have written meanwhile: all that the ledger counts is in the replica from here on.
  await fetchUpdates(store);
  return new SyncedDocument(name, device, doc, store, edits, ledger, session);
}

export class SyncedDocument {
  readonly name: DocumentName;
  readonly doc: Y.Doc;
  readonly device: Device;
  /** Names this page among those that have the document open. */
  readonly session: string;
  /** Told of every edit once it is in the device's store; set by the hub. */
  onStored: ((edit: Edit) => void) | undefined;
  /** The origin of what the server sends; set by the link. */
  serverOrigin: unknown;
  readonly #store: IndexeddbPersistence;
  readonly #ledger: Ledger;
  readonly #listeners = new Set<() => void>();
  #link: LinkState = NO_LINK;
  /** Edits that were set aside with a refused copy and are being carried over to this one. */
  #carrying = 0;
  #status: Status;
  #peers: readonly PeerDevice[] = [];
  #arePeersStale = false;
  #isFilling = false;
  #isClosed = false;
  #writes = 0;
  #written = 0;

  constructor(
    name: DocumentName,
    device: Device,
    doc: Y.Doc,
    store: IndexeddbPersistence,
    edits: EditListener,
    ledger: Ledger,
    session: string,
  ) {
    this.name = name;
    this.doc = doc;
    this.device = device;
    this.session = session;
    this.#store = store;
    this.#ledger = ledger;
    this.#status = this.#judge();
    edits.listen((update, origin) => this.#heard(update, origin));
  }

  get status(): Status {
    return this.#status;
  }

  get link(): LinkState {
    return this.#link;
  }

  get unsaved(): number {
    return this.#ledger.unsaved + this.#carrying;
  }

  /** Whether a large update is being applied bit by bit: what it says is not whole yet. */
  get isFilling(): boolean {
    return this.#isFilling;
  }

  setFilling(isFilling: boolean): void {
    this.#isFilling = isFilling;
    this.#changed();
  }

  setCarrying(edits: number): void {
    this.#carrying = edits;
    this.#changed();
  }

  /** Edits of each session that are in this replica. */
  get made(): Counts {
    return this.#ledger.made;
  }

  /** The other devices with this document; empty while this device cannot know. */
  get peers(): readonly PeerDevice[] {
    if (this.#arePeersStale) {
      const peers = this.#readPeers();
      if (!same(peers, this.#peers)) this.#peers = peers;
      this.#arePeersStale = false;
    }
    return this.#peers;
  }

  /** Whether every edit made so far is in this device's own store; a reload before that may lose the last one. */
  get stored(): boolean {
    return this.#written === this.#writes;
  }

  /** Calls `listener` after every change of `status`, `peers` or `stored`. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves once all that was written so far is in this device's own store. */
  async whenStored(): Promise<void> {
    // y-indexeddb hears of an edit after us, in the same task.
    await Promise.resolve();
    // Whoever closes it waits for what was written.
    if (!this.#isClosed) await this.#ledger.stored();
  }

  setLink(link: LinkState): void {
    this.#link = link;
    this.#changed();
  }

  /** The server has that many edits of each of these sessions on disk. */
  confirm(saved: Counts): void {
    this.#ledger.confirm(saved);
    this.#changed();
  }

  /**
   * Takes what another page of this device has: that page keeps it in the store that both share. Answers false
   * where something that it builds on is missing here.
   */
  take({ update, session, number }: Edit): boolean {
    Y.applyUpdate(this.doc, update, this.#store);
    if (session !== undefined) this.#ledger.heard(session, number);
    this.#changed();
    return this.doc.store.pendingStructs === null && this.doc.store.pendingDs === null;
  }

  /** Takes what a page that is gone kept in the store and told nobody; answers how many edits each session made. */
  async catchUp(): Promise<Counts> {
    if (this.#isClosed) return {};
    const made = await this.#ledger.reread();
    if (!this.#isClosed) await fetchUpdates(this.#store);
    this.#changed();
    return made;
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    await this.whenStored();
    this.onStored = undefined;
    this.#isClosed = true;
    await this.#store.destroy();
    this.doc.destroy();
  }

  /** Closes it and removes it from this device. */
  async remove(): Promise<void> {
    this.#listeners.clear();
    this.onStored = undefined;
    this.#isClosed = true;
    await this.#store.clearData();
    this.doc.destroy();
  }

  #heard(update: Uint8Array, origin: unknown): void {
    if (origin === this.#store) return;
    const isServers = origin !== undefined && origin !== null && origin === this.serverOrigin;
    const number = isServers ? 0 : this.#ledger.add();
    void this.#follow({ update, session: isServers ? undefined : this.session, number });
    if (!isServers) this.#changed();
  }

  async #follow(edit: Edit): Promise<void> {
    this.#writes += 1;
    const write = this.#writes;
    await this.whenStored();
    this.#written = Math.max(this.#written, write);
    this.onStored?.(edit);
    if (this.stored) this.#changed();
  }

  #judge(): Status {
    const { unsaved } = this;
    const { phase, refusal, confirmed } = this.#link;
    if (refusal !== undefined) return { kind: "refused", ...refusal, unsaved };
    switch (phase) {
      case "off":
        return { kind: "offline", cause: "switched-off", unsaved };
      case "lost":
        return { kind: "offline", cause: "unreachable", unsaved };
      case "connecting":
        return { kind: "connecting", unsaved };
      case "joined": {
        if (unsaved > 0) return { kind: "saving", unsaved };
        if (!confirmed) return { kind: "connecting", unsaved };
        const changes = this.#ownBehind();
        return changes > 0 ? { kind: "merging", changes } : { kind: "saved" };
      }
    }
  }

  #ownBehind(): number {
    const { report, received } = this.#link;
    if (report === undefined || report.saved <= received) return 0;
    return report.devices.find((device) => device.id === this.device.id)?.behind ?? 0;
  }

  #readPeers(): readonly PeerDevice[] {
    const { phase, report, present } = this.#link;
    if (phase !== "joined") return [];
    const here = new Set(present.map((device) => device.id));
    const reported = (report?.devices ?? [])
      .filter((device) => device.id !== this.device.id)
      .map((device) => ({ ...device, online: device.online || here.has(device.id) }));
    const known = new Set(reported.map((device) => device.id));
    return [...reported, ...present.filter((device) => !known.has(device.id))];
  }

  #changed(): void {
    this.#arePeersStale = true;
    const status = this.#judge();
    if (!same(status, this.#status)) this.#status = status;
    for (const listener of [...this.#listeners]) listener();
  }
}

/** Hears every update of a document from its first moment on; silent until someone listens. */
export class EditListener {
  #heard: ((update: Uint8Array, origin: unknown) => void) | undefined;

  constructor(doc: Y.Doc) {
    doc.on("update", (update: Uint8Array, origin: unknown) => this.#heard?.(update, origin));
  }

  listen(heard: (update: Uint8Array, origin: unknown) => void): void {
    this.#heard = heard;
  }
}
