/** One document by its full name, without the model around it: for notes, canvases, anything that is plain Yjs. */
import type * as Y from "yjs";
import type { DocumentName } from "./model/ids.ts";
import type { Frame } from "./sync/connection.ts";
import type { SyncedDocument } from "./sync/document.ts";
import { Home } from "./sync/home.ts";
import { Hub } from "./sync/hub.ts";
import type { Device, PeerDevice, Status } from "./sync/status.ts";
import { Token, type TokenSource } from "./sync/token.ts";

export interface OpenOptions {
  /** The server's socket address, such as `wss://host/sync`. */
  readonly url: string;
  /** The document's name. */
  readonly name: string;
  readonly device: Device;
  readonly token?: TokenSource;
  /** Whether to connect at once; default true. */
  readonly online?: boolean;
  readonly WebSocket?: typeof WebSocket;
  readonly onFrame?: (frame: Frame) => void;
}

/** Opens the device's own copy, offline or not, and then joins it to the server. */
export async function openDocument(options: OpenOptions): Promise<LoneDocument> {
  const name = options.name as DocumentName;
  const { device } = options;
  const home = Home.open(`syncline/${device.id}/documents`);
  const hub = new Hub({
    scope: `syncline/${device.id}/${name}@${options.url}`,
    url: socketUrl(options.url, device),
    device,
    token: new Token(options.token),
    home,
    isOn: options.online ?? true,
    WebSocket: options.WebSocket,
    heard: options.onFrame,
    storeName: async (name) => `syncline/${device.id}/${name}`,
  });
  hub.start();
  const { document } = hub.use(name);
  return new LoneDocument(hub, await document, await home);
}

export class LoneDocument {
  readonly #hub: Hub;
  readonly #document: SyncedDocument;
  readonly #home: Home;

  constructor(hub: Hub, document: SyncedDocument, home: Home) {
    this.#hub = hub;
    this.#document = document;
    this.#home = home;
  }

  get doc(): Y.Doc {
    return this.#document.doc;
  }

  get status(): Status {
    return this.#document.status;
  }

  /** The other devices with this document; empty while this device cannot know. */
  get peers(): readonly PeerDevice[] {
    return this.#document.peers;
  }

  /** Whether every edit made so far is in this device's own store; a reload before that may lose the last one. */
  get stored(): boolean {
    return this.#document.stored;
  }

  /** Calls `listener` after every change of `status`, `peers` or `stored`. */
  subscribe(listener: () => void): () => void {
    return this.#document.subscribe(listener);
  }

  connect(): void {
    this.#hub.setOn(true);
  }

  /** Goes offline until `connect`, in all pages of this device. */
  disconnect(): void {
    this.#hub.setOn(false);
  }

  async close(): Promise<void> {
    await this.#hub.close();
    this.#home.close();
  }
}

/** The socket's address, with the device that opens it. */
export function socketUrl(url: string, device: Device): string {
  const target = new URL(url);
  target.searchParams.set("device", device.id);
  target.searchParams.set("deviceName", device.name);
  target.searchParams.set("deviceKind", device.kind);
  target.searchParams.set("status", "1");
  return target.href;
}
