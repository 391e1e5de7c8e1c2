/**
 * Copies that the server refused. Such a copy would block all that follows it, since Yjs offers its edits as one: it is set
 * aside in the device's store, where it can be exported, and a fresh one takes its place with every edit that can be
 * told apart.
 */
import { IndexeddbPersistence } from "y-indexeddb";
import * as Y from "yjs";

import type { DocumentName } from "../model/ids.ts";
import { isRecord, text, whole } from "../model/json.ts";
import { Computed } from "../views/live.ts";
import { carryOver, isCarried } from "./carry.ts";
import type { SyncedDocument } from "./document.ts";
import type { Home } from "./home.ts";
import type { Hub } from "./hub.ts";
import type { Device, Refusal } from "./status.ts";

/** A document is set aside at most this often: if the fresh copy is refused too, something else is wrong. */
const AGAIN_MS = 10 * 60_000;

/** A copy that was set aside. */
export interface Aside {
  readonly document: DocumentName;
  readonly reason: string;
  /** When: unix milliseconds. */
  readonly at: number;
  /** Whether its edits are in the copy that took its place. */
  readonly isCarried: boolean;
  /** All of it as a Yjs update. */
  export(): Promise<Uint8Array>;
  /** Removes it from this device. */
  discard(): Promise<void>;
}

interface Kept {
  readonly document: DocumentName;
  readonly store: string;
  readonly reason: string;
  readonly at: number;
  readonly isCarried: boolean;
  readonly unsaved: number;
}

export class Asides {
  readonly #home: Home;
  readonly #hub: Hub;
  readonly #device: Device;
  readonly #rebind: (name: DocumentName) => void;
  readonly #kept = new Map<string, Kept>();
  readonly #busy = new Set<DocumentName>();
  readonly view = new Computed<readonly Aside[]>(() =>
    [...this.#kept].map(([key, kept]) => this.#toAside(key, kept)),
  );

  constructor(home: Home, hub: Hub, device: Device, rebind: (name: DocumentName) => void) {
    this.#home = home;
    this.#hub = hub;
    this.#device = device;
    this.#rebind = rebind;
  }

  async load(): Promise<void> {
    this.#kept.clear();
    for (const [key, value] of await this.#home.list("aside")) {
      const kept = readKept(value);
      if (kept !== undefined) this.#kept.set(key, kept);
    }
    this.view.invalidate();
  }

  /** Carries over what an earlier page did not get to. */
  resume(): void {
    for (const [key, kept] of this.#kept) {
      if (!kept.isCarried && isCarried(kept.document)) void this.#carry(key, kept);
    }
  }

  /** Sets the present copy of a document aside, and carries its edits over to a fresh one. */
  async set(name: DocumentName, refusal: Refusal, storeOf: (generation: number) => string): Promise<void> {
    const now = Date.now();
    const isRecent = [...this.#kept.values()].some(
      ({ document, at }) => document === name && now - at < AGAIN_MS,
    );
    if (this.#busy.has(name) || isRecent) return;
    this.#busy.add(name);
    try {
      const generation = whole(await this.#home.read(`generation/${name}`)) ?? 0;
      const unsaved = this.#hub.peek(name)?.unsaved ?? 0;
      const store = storeOf(generation);
      const kept: Kept = {
        document: name,
        store,
        reason: refusal.reason,
        at: now,
        isCarried: false,
        unsaved,
      };
      const key = `${name}#${generation}`;
      const old = await this.#hub.drop(name);
      await old?.close();
      await this.#home.write([
        [`aside/${key}`, kept],
        [`generation/${name}`, generation + 1],
      ]);
      this.#kept.set(key, kept);
      this.view.invalidate();
      this.#rebind(name);
      this.#hub.tell(`replaced ${name}`);
      if (isCarried(name)) await this.#carry(key, kept);
    } finally {
      this.#busy.delete(name);
    }
  }

  async #carry(key: string, kept: Kept): Promise<void> {
    const use = this.#hub.use(kept.document);
    try {
      const fresh = await use.document;
      // Nothing is called saved while it is neither here nor there.
      fresh.setCarrying(kept.unsaved);
      await joined(fresh);
      await withStore(kept.store, async (doc) => carryOver(kept.document, doc, fresh.doc, this.#device.id));
      await fresh.whenStored();
      await this.#keep(key, { ...kept, isCarried: true });
      fresh.setCarrying(0);
    } finally {
      use.release();
    }
  }

  async #keep(key: string, kept: Kept | undefined): Promise<void> {
    await this.#home.write([[`aside/${key}`, kept]]);
    if (kept === undefined) this.#kept.delete(key);
    else this.#kept.set(key, kept);
    this.view.invalidate();
  }

  #toAside(key: string, kept: Kept): Aside {
    const { document, reason, at, isCarried, store } = kept;
    return {
      document,
      reason,
      at,
      isCarried,
      export: () => withStore(store, async (doc) => Y.encodeStateAsUpdate(doc)),
      discard: async () => {
        await this.#keep(key, undefined);
        const request = indexedDB.deleteDatabase(store);
        await new Promise((resolve) => {
          request.onsuccess = resolve;
          request.onerror = resolve;
        });
      },
    };
  }
}

/** Resolves once the server's state of a document is here. */
async function joined(document: SyncedDocument): Promise<void> {
  await new Promise<void>((resolve) => {
    const look = () => {
      if (document.link.phase !== "joined") return;
      stop();
      resolve();
    };
    const stop = document.subscribe(look);
    look();
  });
}

async function withStore<T>(name: string, work: (doc: Y.Doc) => Promise<T>): Promise<T> {
  const doc = new Y.Doc();
  const store = new IndexeddbPersistence(name, doc);
  try {
    await store.whenSynced;
    return await work(doc);
  } finally {
    await store.destroy();
    doc.destroy();
  }
}

function readKept(value: unknown): Kept | undefined {
  if (!isRecord(value)) return undefined;
  const [document, store, reason] = [text(value["document"]), text(value["store"]), text(value["reason"])];
  if (document === undefined || store === undefined || reason === undefined) return undefined;
  const [at, unsaved] = [whole(value["at"]) ?? 0, whole(value["unsaved"]) ?? 0];
  return {
    document: document as DocumentName,
    store,
    reason,
    at,
    unsaved,
    isCarried: value["isCarried"] === true,
  };
}
