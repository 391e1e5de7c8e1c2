/** One document on one device: its replica, its own store, its connection, and what can truthfully be said of them. */
import { IndexeddbPersistence } from "y-indexeddb";
import * as Y from "yjs";
import { DeviceSocket, DocumentProvider } from "./connection.ts";
import { Ledger } from "./ledger.ts";
import {
  type Device,
  isRecord,
  type PeerDevice,
  readStatusReport,
  receivedMessage,
  type Status,
  type StatusReport,
  toDeviceKind,
} from "./status.ts";

export interface OpenOptions {
  /** The server's socket address, such as `wss://host/sync`. */
  readonly url: string;
  /** The document's name. */
  readonly name: string;
  readonly device: Device;
  readonly token?: string;
  /** Whether to connect at once; default true. */
  readonly online?: boolean;
}

/** Opens the device's own copy, offline or not, and then joins it to the server. */
export async function openDocument(options: OpenOptions): Promise<SyncedDocument> {
  const doc = new Y.Doc();
  // Heard before y-indexeddb hears of an edit, as the ledger requires.
  const edits = new EditListener(doc);
  const store = new IndexeddbPersistence(`syncline/${options.device.id}/${options.name}`, doc);
  await store.whenSynced;
  if (store.db === null) throw new Error("this device's store did not open");
  const ledger = await Ledger.open(store.db, randomSession());
  return new SyncedDocument(options, doc, store, edits, ledger);
}

type Link = "off" | "connecting" | "joined" | "lost";

export class SyncedDocument {
  readonly doc: Y.Doc;
  readonly device: Device;
  readonly #name: string;
  readonly #store: IndexeddbPersistence;
  readonly #ledger: Ledger;
  readonly #socket: DeviceSocket;
  readonly #provider: DocumentProvider;
  readonly #listeners = new Set<() => void>();
  #link: Link = "off";
  /** Whether the server has confirmed this device's state since the connection began. */
  #confirmed = false;
  #refusal: string | undefined;
  #report: StatusReport | undefined;
  /** The newest durable sequence number known to be in this device's own store. */
  #received = -1;
  #receiving = false;
  #writes = 0;
  #written = 0;

  constructor(
    options: OpenOptions,
    doc: Y.Doc,
    store: IndexeddbPersistence,
    edits: EditListener,
    ledger: Ledger,
  ) {
    this.doc = doc;
    this.device = options.device;
    this.#name = options.name;
    this.#store = store;
    this.#ledger = ledger;
    this.#socket = new DeviceSocket({
      url: socketUrl(options),
      autoConnect: false,
      delay: 500,
      minDelay: 500,
      maxDelay: 5_000,
    });
    this.#provider = new DocumentProvider({
      name: options.name,
      document: doc,
      token: options.token ?? "",
      websocketProvider: this.#socket,
    });
    edits.listen((origin) => {
      if (origin === this.#provider || origin === store) return;
      ledger.add();
      void this.#follow();
      this.#changed();
    });
    this.#watchProvider();
    this.#provider.setAwarenessField("device", { ...options.device });
    this.#provider.attach();
    window.addEventListener("online", this.#hurry);
    if (options.online ?? true) this.connect();
  }

  get status(): Status {
    return this.#judge();
  }

  /** The other devices with this document; empty while this device cannot know. */
  get peers(): readonly PeerDevice[] {
    if (this.#link !== "joined") return [];
    const present = this.#presentDevices();
    const reported = (this.#report?.devices ?? [])
      .filter((device) => device.id !== this.device.id)
      .map((device) => ({ ...device, online: device.online || present.has(device.id) }));
    const known = new Set(reported.map((device) => device.id));
    return [...reported, ...[...present.values()].filter((device) => !known.has(device.id))];
  }

  /** Whether every edit made so far is in this device's own store; a reload before that may lose the last one. */
  get stored(): boolean {
    return this.#written === this.#writes;
  }

  connect(): void {
    this.#link = "connecting";
    this.#refusal = undefined;
    void this.#socket.connect();
    this.#changed();
  }

  disconnect(): void {
    this.#link = "off";
    this.#refusal = undefined;
    this.#socket.disconnect();
    this.#changed();
  }

  /** Calls `listener` after every change of `status`, `peers` or `stored`. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    window.removeEventListener("online", this.#hurry);
    this.#listeners.clear();
    this.#provider.destroy();
    this.#socket.destroy();
    await this.#store.destroy();
    this.doc.destroy();
  }

  #judge(): Status {
    const unsaved = this.#ledger.unsaved;
    if (this.#refusal !== undefined) return { kind: "refused", reason: this.#refusal, unsaved };
    switch (this.#link) {
      case "off":
        return { kind: "offline", cause: "switched-off", unsaved };
      case "lost":
        return { kind: "offline", cause: "unreachable", unsaved };
      case "connecting":
        return { kind: "connecting", unsaved };
      case "joined": {
        if (unsaved > 0) return { kind: "saving", unsaved };
        if (!this.#confirmed) return { kind: "connecting", unsaved };
        const changes = this.#ownBehind();
        return changes > 0 ? { kind: "behind", changes } : { kind: "saved" };
      }
    }
  }

  #watchProvider(): void {
    const provider = this.#provider;
    provider.acknowledgements = {
      saved: (outstanding) => {
        this.#confirmed = true;
        this.#ledger.confirm(outstanding);
        this.#changed();
      },
      refused: () => {
        this.#refuse(
          provider.authorizedScope === "readonly"
            ? "this device may read this document, not change it; its edits stay here"
            : "the server did not take an edit; it stays on this device",
        );
      },
    };
    provider.on("open", () => {
      this.#link = "connecting";
      this.#confirmed = false;
      this.#refusal = undefined;
      this.#changed();
    });
    provider.on("synced", () => {
      this.#link = "joined";
      this.#changed();
      void this.#receive();
    });
    provider.on("authenticationFailed", ({ reason }: { reason: string }) => this.#refuse(reason));
    provider.on("stateless", ({ payload }: { payload: string }) => {
      const report = readStatusReport(payload, this.#name);
      if (report === undefined) return;
      this.#report = report;
      this.#changed();
      void this.#receive();
    });
    provider.on("awarenessChange", () => this.#changed());
    this.#socket.on("close", ({ event }: { event: { code: number; reason: string } }) => {
      this.#confirmed = false;
      this.#report = undefined;
      this.#received = -1;
      if (this.#link !== "off") this.#link = "lost";
      if (isFinal(event.code)) {
        this.#refuse(event.reason || `the server closed the connection (${event.code})`);
        this.#socket.disconnect();
      }
      this.#changed();
    });
  }

  /**
   * Tells the server how much is in this device's own store. A status report follows the updates it counts on the
   * same connection, so once the first sync is through and the store has run all its writes, `saved` of
   * them are here. The browser may still lose them in a power cut: its stores promise no flush.
   */
  async #receive(): Promise<void> {
    if (this.#receiving) return;
    this.#receiving = true;
    try {
      while (this.#link === "joined" && this.#report !== undefined && this.#report.saved > this.#received) {
        const { saved } = this.#report;
        await this.#ledger.stored();
        this.#received = saved;
        this.#provider.sendStateless(receivedMessage(this.#name, saved));
        this.#changed();
      }
    } finally {
      this.#receiving = false;
    }
  }

  async #follow(): Promise<void> {
    this.#writes += 1;
    const write = this.#writes;
    // y-indexeddb hears of the edit after us, in this same task.
    await Promise.resolve();
    await this.#ledger.stored();
    this.#written = write;
    if (this.stored) this.#changed();
  }

  #ownBehind(): number {
    if (this.#report === undefined || this.#report.saved <= this.#received) return 0;
    return this.#report.devices.find((device) => device.id === this.device.id)?.behind ?? 0;
  }

  #presentDevices(): Map<string, PeerDevice> {
    const devices = new Map<string, PeerDevice>();
    for (const state of this.#provider.awareness?.getStates().values() ?? []) {
      const device: unknown = state["device"];
      if (!isRecord(device)) continue;
      const { id, name, kind } = device;
      if (typeof id !== "string" || typeof name !== "string" || id === this.device.id) continue;
      devices.set(id, { id, name, kind: toDeviceKind(kind), online: true, behind: undefined });
    }
    return devices;
  }

  #refuse(reason: string): void {
    this.#refusal = reason;
    this.#changed();
  }

  /** Tries again at once when the browser says that there is a network again. */
  readonly #hurry = (): void => {
    if (this.#link === "lost" && this.#refusal === undefined) void this.#socket.connect();
  };

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** Hears every update of a document from its first moment on; silent until someone listens. */
class EditListener {
  #heard: ((origin: unknown) => void) | undefined;

  constructor(doc: Y.Doc) {
    doc.on("update", (_update: Uint8Array, origin: unknown) => this.#heard?.(origin));
  }

  listen(heard: (origin: unknown) => void): void {
    this.#heard = heard;
  }
}

function socketUrl({ url, device }: OpenOptions): string {
  const target = new URL(url);
  target.searchParams.set("device", device.id);
  target.searchParams.set("deviceName", device.name);
  target.searchParams.set("deviceKind", device.kind);
  target.searchParams.set("status", "1");
  return target.href;
}

/** Whether trying again would only bring the same answer: too big, or one of the server's permanent codes. */
function isFinal(code: number): boolean {
  return code === 1009 || (code >= 4400 && code < 4500 && code !== 4408);
}

function randomSession(): string {
  return [...crypto.getRandomValues(new Uint8Array(8))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}
