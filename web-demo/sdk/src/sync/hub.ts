/**
 * The open documents of one page. Where this page leads, each is joined to the server over the device's one socket,
 * those that other pages have open too; where it does not, each syncs through the leader.
 */
import * as Y from "yjs";
import { type DocumentName, randomName } from "../model/ids.ts";
import { same } from "../model/json.ts";
import { DeviceSocket, type Frame } from "./connection.ts";
import { type Edit, openCopy, type SyncedDocument } from "./document.ts";
import type { Home } from "./home.ts";
import { unsavedIn as unsavedInStore } from "./ledger.ts";
import { ServerLink } from "./server-link.ts";
import { type Device, type Refusal, type Status, unsavedIn, worst } from "./status.ts";
import { type TabId, type TabMessage, Tabs } from "./tabs.ts";
import { inBackground } from "./timers.ts";
import type { Token } from "./token.ts";

/** A document nobody uses stays open this long: most are opened again soon. */
const LINGER_MS = 30_000;
/** The first wait before a connection that was refused is tried again, and the longest. */
const REFUSED_MS = 5_000;
const REFUSED_MAX_MS = 60_000;

export interface HubOptions {
  readonly scope: string;
  readonly url: string;
  readonly device: Device;
  readonly token: Token;
  readonly home: Promise<Home>;
  readonly isOn: boolean;
  readonly WebSocket?: typeof WebSocket | undefined;
  readonly heard?: ((frame: Frame) => void) | undefined;
  /** The name of a document's store on this device. */
  readonly storeName: (name: DocumentName) => Promise<string>;
  /** The server will never take an edit of this document; only the page that leads is told. */
  readonly rejected?: (name: DocumentName, refusal: Refusal) => void;
  /** A document was erased for good. */
  readonly gone?: (name: DocumentName, reason: string) => void;
}

/** One document's place in the pool. */
interface Slot {
  readonly name: DocumentName;
  readonly opening: Promise<SyncedDocument>;
  document: SyncedDocument | undefined;
  link: ServerLink | undefined;
  /** Uses by this page. */
  uses: number;
  /** Other pages that have it open; only the leader knows. */
  readonly tabs: Set<TabId>;
  /** What this page noted in the device's store when it opened the document. */
  note: string;
  linger: ReturnType<typeof setTimeout> | undefined;
}

/** A use of a document; it stays open until released. */
export interface Use {
  readonly document: Promise<SyncedDocument>;
  release(): void;
}

export class Hub {
  readonly #options: HubOptions;
  readonly #tabs: Tabs;
  readonly #slots = new Map<DocumentName, Slot>();
  readonly #listeners = new Set<() => void>();
  readonly #newsListeners = new Set<(topic: string) => void>();
  readonly #ledListeners = new Set<() => void>();
  readonly #hiddenTabs = new Set<TabId>();
  #socket: DeviceSocket | undefined;
  #isOn: boolean;
  #isClosed = false;
  /** Whether all that earlier pages left unsaved is open: until then nobody knows that there is nothing. */
  #isSwept = false;
  #status: Status;
  /** What the leader says of all documents of this device. */
  #leaders: Status | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #retryMs = REFUSED_MS;
  #unreadableMs = REFUSED_MS;
  #isVisible = true;
  /** Edits that wait for their document to be opened. */
  #waiting = 0;

  constructor(options: HubOptions) {
    this.#options = options;
    this.#isOn = options.isOn;
    this.#status = options.isOn
      ? { kind: "connecting", unsaved: 0 }
      : { kind: "offline", cause: "switched-off", unsaved: 0 };
    this.#tabs = new Tabs(options.scope, {
      led: () => this.#led(),
      unled: () => this.#unled(),
      heard: (message, from) => this.#heard(message, from),
      left: (tab) => this.#left(tab),
    });
    if (typeof window !== "undefined") window.addEventListener("online", this.#hurry);
    if (typeof document !== "undefined") document.addEventListener("visibilitychange", this.#seen);
  }

  start(): void {
    this.#tabs.start();
  }

  /** The worst of all open documents, their counts added up. */
  get status(): Status {
    return this.#status;
  }

  /** Resolves once all that was written so far is in this device's own store. */
  async whenStored(): Promise<void> {
    const documents = await Promise.all([...this.#slots.values()].map(({ opening }) => opening));
    await Promise.all(documents.map((document) => document.whenStored()));
  }

  get isLeader(): boolean {
    return this.#tabs.isLeader;
  }

  get isOn(): boolean {
    return this.#isOn;
  }

  /** Calls back whenever the overall status changed. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Calls back once this page leads, at once if it does. */
  onLed(listener: () => void): void {
    this.#ledListeners.add(listener);
    if (this.isLeader) listener();
  }

  onNews(listener: (topic: string) => void): void {
    this.#newsListeners.add(listener);
  }

  /** Tells the other pages that something in the shared store was changed. */
  tell(topic: string): void {
    this.#tabs.send({ kind: "news", topic });
  }

  /** Opens a document, or joins those who have it open. */
  use(name: DocumentName): Use {
    const slot = this.#slot(name);
    slot.uses += 1;
    clearTimeout(slot.linger);
    let isHeld = true;
    const release = () => {
      if (!isHeld) return;
      isHeld = false;
      slot.uses -= 1;
      this.#letGo(slot);
    };
    return { document: slot.opening, release };
  }

  /** An edit waits for its document to be opened: it counts as unsaved until what is returned is called. */
  waits(): () => void {
    this.#waiting += 1;
    this.#judge();
    let isWaiting = true;
    return () => {
      if (!isWaiting) return;
      isWaiting = false;
      this.#waiting -= 1;
      this.#judge();
    };
  }

  /** The open copy of a document, if it is open. */
  peek(name: DocumentName): SyncedDocument | undefined {
    return this.#slots.get(name)?.document;
  }

  /** Takes a document out of the pool whoever uses it: who opens it next gets another store. */
  async drop(name: DocumentName): Promise<SyncedDocument | undefined> {
    const slot = this.#slots.get(name);
    if (slot === undefined) return undefined;
    this.#slots.delete(name);
    clearTimeout(slot.linger);
    slot.link?.close();
    slot.link = undefined;
    if (!this.isLeader) this.#tabs.send({ kind: "unwant", document: name });
    const document = await slot.opening;
    this.#judge();
    return document;
  }

  setOn(isOn: boolean): void {
    this.#tabs.send({ kind: "power", isOn });
    this.#power(isOn);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    if (typeof window !== "undefined") window.removeEventListener("online", this.#hurry);
    if (typeof document !== "undefined") document.removeEventListener("visibilitychange", this.#seen);
    const slots = [...this.#slots.values()];
    this.#slots.clear();
    for (const slot of slots) {
      clearTimeout(slot.linger);
      slot.link?.close();
    }
    clearTimeout(this.#retry);
    this.#socket?.destroy();
    this.#tabs.close();
    this.#listeners.clear();
    await Promise.all(slots.map(async (slot) => (await slot.opening).close()));
  }

  #slot(name: DocumentName): Slot {
    const known = this.#slots.get(name);
    if (known !== undefined) return known;
    const note = randomName(8);
    const slot: Slot = {
      name,
      note,
      opening: this.#open(name, note),
      document: undefined,
      link: undefined,
      uses: 0,
      tabs: new Set(),
      linger: undefined,
    };
    this.#slots.set(name, slot);
    slot.opening.then(
      (document) => {
        if (this.#slots.get(name) === slot) this.#opened(slot, document);
      },
      () => this.#slots.delete(name),
    );
    return slot;
  }

  async #open(name: DocumentName, note: string): Promise<SyncedDocument> {
    const home = await this.#options.home;
    // On disk before the first edit can be: whoever leads next looks whether something was left unsaved.
    await home.write([[`open/${name}`, note]]);
    return openCopy(name, this.#options.device, await this.#options.storeName(name));
  }

  #opened(slot: Slot, document: SyncedDocument): void {
    slot.document = document;
    document.onStored = (edit) => this.#tabs.send({ kind: "edit", document: slot.name, edit });
    document.subscribe(() => this.#judge());
    if (this.isLeader) this.#link(slot, document);
    else this.#want(slot.name, document);
    this.#letGo(slot);
    this.#judge();
  }

  #letGo(slot: Slot): void {
    if (this.#slots.get(slot.name) !== slot) return;
    if (slot.uses > 0 || slot.tabs.size > 0 || slot.document === undefined) return;
    clearTimeout(slot.linger);
    slot.linger = setTimeout(() => void this.#shut(slot), LINGER_MS);
    inBackground(slot.linger);
  }

  async #shut(slot: Slot): Promise<void> {
    const { document } = slot;
    if (slot.uses > 0 || slot.tabs.size > 0 || document === undefined) return;
    // What is unsaved keeps its document open: that is how it gets saved.
    if (this.isLeader && document.unsaved > 0) return this.#letGo(slot);
    if (this.#slots.get(slot.name) !== slot) return;
    this.#slots.delete(slot.name);
    slot.link?.close();
    if (!this.isLeader) this.#tabs.send({ kind: "unwant", document: slot.name });
    const isClean = document.unsaved === 0 && this.isLeader;
    await document.close();
    if (isClean && !this.#slots.has(slot.name)) {
      await (await this.#options.home).removeIf(`open/${slot.name}`, slot.note);
    }
    this.#judge();
  }

  #led(): void {
    this.#leaders = undefined;
    this.#isSwept = false;
    const { url, token, WebSocket, heard } = this.#options;
    this.#socket = new DeviceSocket({ url, token, WebSocket, heard });
    this.#socket.on("open", () => {
      this.#retryMs = REFUSED_MS;
    });
    this.#socket.on("close", ({ event }: { event: { code: number } }) => this.#socketClosed(event.code));
    for (const slot of this.#slots.values()) if (slot.document !== undefined) this.#link(slot, slot.document);
    if (this.#isOn) void this.#socket.connect();
    void this.#sweep();
    for (const listener of this.#ledListeners) listener();
    this.#judge();
  }

  /** Opens what earlier pages left unsaved, so that it is counted and gets saved. */
  async #sweep(): Promise<void> {
    const home = await this.#options.home;
    for (const [key, note] of await home.list("open")) {
      const name = key as DocumentName;
      if (this.#slots.has(name)) continue;
      if ((await unsavedInStore(await this.#options.storeName(name))) === 0) {
        await home.removeIf(`open/${name}`, note);
        continue;
      }
      const use = this.use(name);
      // Stays open for as long as it holds something unsaved.
      await use.document.then(use.release, use.release);
    }
    this.#isSwept = true;
    this.#judge();
  }

  #unled(): void {
    for (const slot of this.#slots.values()) {
      slot.link?.close();
      slot.link = undefined;
      slot.tabs.clear();
      if (slot.document !== undefined) this.#want(slot.name, slot.document);
      this.#letGo(slot);
    }
    clearTimeout(this.#retry);
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  #link(slot: Slot, document: SyncedDocument): void {
    if (this.#socket === undefined || slot.link !== undefined) return;
    const link = new ServerLink(document, this.#socket, this.#options.token, {
      changed: (state) => {
        document.setLink(state);
        this.#tabs.send({ kind: "link", document: slot.name, link: state });
      },
      saved: (counts) => {
        document.confirm(counts);
        this.#tabs.send({ kind: "saved", document: slot.name, counts });
      },
      tokenRefused: () => this.#tokenRefused(),
      rejected: (refusal) => {
        if (refusal.code === "unavailable") this.#retryLater();
        else this.#options.rejected?.(slot.name, refusal);
      },
      unreadable: () => this.#unreadable(),
      gone: (reason) => this.#options.gone?.(slot.name, reason),
    });
    slot.link = link;
    const isConnected = this.#socket.status === "connected";
    if (!isConnected) link.setPhase(this.#isOn ? "connecting" : "off");
  }

  /** The token ran out between two connections: all documents reconnect with another one. */
  #tokenRefused(): void {
    const { token } = this.#options;
    if (!token.isRenewable) return;
    token.invalidate();
    this.#retryLater();
  }

  #socketClosed(code: number): void {
    const { token } = this.#options;
    if (code === 4501 || code === 4401) token.invalidate();
    const isRefusal = code === 1009 || (code >= 4400 && code < 4500 && code !== 4408 && code !== 4404);
    if (isRefusal) this.#retryLater();
  }

  /** Drops the connection and tries again, slower each time: the same answer is likely. */
  #retryLater(): void {
    if (this.#retry !== undefined || this.#socket === undefined) return;
    this.#socket.disconnect();
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      if (this.#isOn) void this.#socket?.connect();
    }, this.#retryMs);
    inBackground(this.#retry);
    this.#retryMs = Math.min(this.#retryMs * 2, REFUSED_MAX_MS);
  }

  /** Slower each time, though the connection itself succeeds: the other documents are cut off with it. */
  #unreadable(): void {
    this.#retryMs = this.#unreadableMs;
    this.#retryLater();
    this.#unreadableMs = this.#retryMs;
  }

  #power(isOn: boolean): void {
    this.#isOn = isOn;
    if (this.#socket !== undefined) {
      clearTimeout(this.#retry);
      this.#retry = undefined;
      for (const { link } of this.#slots.values()) link?.setPhase(isOn ? "connecting" : "off");
      if (isOn) void this.#socket.connect();
      else this.#socket.disconnect();
    }
    this.#judge();
  }

  /** Tries again at once when the browser says that there is a network again. */
  readonly #hurry = (): void => {
    if (this.#isOn && this.#retry === undefined && this.#socket?.status === "disconnected") {
      void this.#socket.connect();
    }
  };

  readonly #seen = (): void => {
    this.#isVisible = document.visibilityState === "visible";
    this.#tabs.send({ kind: "visible", isVisible: this.#isVisible });
    this.#tellVisibility();
  };

  #tellVisibility(): void {
    const tabs = new Set([...this.#slots.values()].flatMap((slot) => [...slot.tabs]));
    const isHidden = !this.#isVisible && [...tabs].every((tab) => this.#hiddenTabs.has(tab));
    for (const { link } of this.#slots.values()) link?.setHidden(isHidden);
  }

  #want(name: DocumentName, document: SyncedDocument): void {
    this.#tabs.send({ kind: "want", document: name, state: Y.encodeStateVector(document.doc) });
  }

  #heard(message: TabMessage, from: TabId): void {
    switch (message.kind) {
      case "lead":
        for (const slot of this.#slots.values()) {
          if (slot.document !== undefined) this.#want(slot.name, slot.document);
        }
        return;
      case "want":
        if (this.isLeader) void this.#serve(message.document, message.state, from);
        return;
      case "unwant": {
        const slot = this.#slots.get(message.document);
        if (slot?.tabs.delete(from)) this.#letGo(slot);
        return;
      }
      case "diff":
        this.#answer(message.document, message.update, message.state, from);
        return;
      case "lack": {
        const document = this.peek(message.document);
        if (document !== undefined) this.#want(message.document, document);
        return;
      }
      case "edit":
        this.#take(message.document, message.edit, from);
        return;
      case "link":
        if (!this.isLeader) this.peek(message.document)?.setLink(message.link);
        return;
      case "saved":
        this.peek(message.document)?.confirm(message.counts);
        return;
      case "overall":
        this.#leaders = message.status;
        this.#judge();
        return;
      case "power":
        this.#power(message.isOn);
        return;
      case "visible":
        if (message.isVisible) this.#hiddenTabs.delete(from);
        else this.#hiddenTabs.add(from);
        this.#tellVisibility();
        return;
      case "news":
        for (const listener of this.#newsListeners) listener(message.topic);
        return;
      case "hello":
        return;
    }
  }

  /** Opens a document for another page, and gives it what it lacks. */
  async #serve(name: DocumentName, state: Uint8Array, tab: TabId): Promise<void> {
    const slot = this.#slot(name);
    slot.tabs.add(tab);
    clearTimeout(slot.linger);
    const document = await slot.opening;
    if (!this.isLeader || this.#isClosed) return;
    const update = Y.encodeStateAsUpdate(document.doc, state);
    this.#tabs.send({ kind: "diff", document: name, update, state: Y.encodeStateVector(document.doc) }, tab);
    this.#tabs.send({ kind: "link", document: name, link: document.link }, tab);
    this.#tabs.send({ kind: "overall", status: this.#status }, tab);
  }

  /** Takes what the leader has, and gives it what it lacks with the number of this page's edits so far. */
  #answer(name: DocumentName, update: Uint8Array, state: Uint8Array, leader: TabId): void {
    const document = this.peek(name);
    if (document === undefined) return;
    document.take({ update, session: undefined, number: 0 });
    const number = document.made[document.session] ?? 0;
    const edit: Edit = {
      update: Y.encodeStateAsUpdate(document.doc, state),
      session: document.session,
      number,
    };
    // The leader may offer it at once: it is in the store first.
    void document.whenStored().then(() => this.#tabs.send({ kind: "edit", document: name, edit }, leader));
  }

  #take(name: DocumentName, edit: Edit, from: TabId): void {
    const slot = this.#slots.get(name);
    if (slot?.document === undefined) return;
    if (!slot.document.take(edit)) this.#tabs.send({ kind: "lack", document: name }, from);
    else if (edit.session !== undefined) slot.link?.mark(edit.session, edit.number);
  }

  #left(tab: TabId): void {
    this.#hiddenTabs.delete(tab);
    for (const slot of this.#slots.values()) {
      if (slot.tabs.delete(tab)) void this.#inherit(slot).finally(() => this.#letGo(slot));
    }
  }

  /** A page may go between keeping an edit and telling of it. */
  async #inherit(slot: Slot): Promise<void> {
    const made = (await slot.document?.catchUp()) ?? {};
    for (const [session, number] of Object.entries(made)) slot.link?.mark(session, number);
  }

  #judge(): void {
    if (this.#isClosed) return;
    const own = this.#overall();
    if (same(own, this.#status)) return;
    this.#status = own;
    if (this.isLeader) this.#tabs.send({ kind: "overall", status: own });
    for (const listener of [...this.#listeners]) listener();
  }

  #overall(): Status {
    const documents = [...this.#slots.values()].flatMap(({ document }) => document ?? []);
    if (documents.length === 0 && this.#leaders === undefined) {
      return this.#isOn
        ? { kind: "connecting", unsaved: this.#waiting }
        : { kind: "offline", cause: "switched-off", unsaved: this.#waiting };
    }
    // What was erased for good is no trouble of the others.
    const isGone = (status: Status) => status.kind === "refused" && status.code === "gone";
    const all = documents.map((document) => document.status);
    if (this.#waiting > 0) {
      all.push(
        this.#isOn
          ? { kind: "saving", unsaved: this.#waiting }
          : { kind: "offline", cause: "switched-off", unsaved: this.#waiting },
      );
    }
    const statuses = all.every(isGone) ? all : all.filter((status) => !isGone(status));
    if (this.isLeader)
      return worst(this.#isSwept ? statuses : [...statuses, { kind: "connecting", unsaved: 0 }]);
    if (this.#leaders === undefined) return worst([...statuses, { kind: "connecting", unsaved: 0 }]);
    // The leader's documents include this page's: its count is the larger one unless it has yet to hear of an edit.
    const both = worst([...statuses, this.#leaders]);
    const own = statuses.reduce((sum, status) => sum + unsavedIn(status), 0);
    const unsaved = Math.max(own, unsavedIn(this.#leaders));
    return "unsaved" in both ? { ...both, unsaved } : both;
  }
}
