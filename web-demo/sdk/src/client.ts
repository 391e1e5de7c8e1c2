/** The client: one person's state on one device, offline first, over one connection. */
import { socketUrl } from "./lone.ts";
import { Clock } from "./model/hlc.ts";
import {
  type ConversationId,
  type DeviceId,
  type DocumentName,
  isQuarter,
  msOf,
  parseConversationId,
  parseWriter,
  quarterAt,
  type Writer,
} from "./model/ids.ts";
import { whole } from "./model/json.ts";
import { Pen } from "./model/pen.ts";
import { type Ranking, Registers } from "./model/register.ts";
import { type DeviceOptions, readAddress, readDevice } from "./place.ts";
import { type Aside, Asides } from "./sync/asides.ts";
import type { Frame } from "./sync/connection.ts";
import type { SyncedDocument } from "./sync/document.ts";
import { Home } from "./sync/home.ts";
import { Hub, type Use } from "./sync/hub.ts";
import { type Session, takeSession } from "./sync/sessions.ts";
import type { Device, Status } from "./sync/status.ts";
import { inBackground } from "./sync/timers.ts";
import { readClaims, Token, type TokenSource } from "./sync/token.ts";
import { Conversation, foundConversation } from "./views/conversation.ts";
import { Conversations } from "./views/conversations.ts";
import { Drafts } from "./views/drafts.ts";
import { Computed, type Live } from "./views/live.ts";
import type { ConversationHost } from "./views/open-conversation.ts";
import { Devices, Folders, Preferences } from "./views/profile.ts";
import { Summaries, type Summary } from "./views/summaries.ts";

export interface SynclineOptions {
  /** The server: `https://sync.example`, or its socket address `wss://sync.example/sync`. */
  readonly url: string;
  /** A token, or what gets one: called anew whenever the server says that the last one has expired. */
  readonly token?: TokenSource;
  /** Whose state it is. Without it a token given as a text must say so (`sub`). */
  readonly user?: string;
  /** This device. Without an id: the token's, else one that is drawn once and kept in this browser. */
  readonly device?: DeviceOptions;
  /** Whether to connect at once; default true. */
  readonly online?: boolean;
  /** The newest conversations that are kept open in the background, for offline use and fresh previews; default 8. */
  readonly keep?: number;
  /** Another WebSocket than the global one, as for tests. */
  readonly WebSocket?: typeof WebSocket;
  /** Another fetch than the global one. */
  readonly fetch?: typeof fetch;
}

/** A document that is open until it is released. */
export interface OpenDocument {
  readonly document: SyncedDocument;
  release(): void;
}

const KEEP = 8;
/** How often last turns are asked for while the page is visible. */
const REFRESH_MS = 30_000;
/** A clock that is off by less is left alone: the server's answer names whole seconds. */
const CLOCK_MS = 2_000;
const SUMMARY_MS = 500;

export class Syncline {
  readonly user: string;
  readonly device: Device;
  /** What people set on their conversations, newest first. */
  readonly conversations: Conversations;
  readonly preferences: Preferences;
  readonly devices: Devices;
  readonly folders: Folders;
  readonly drafts: Drafts;
  /** The worst of all documents, their unsaved edits added up. */
  readonly status: Live<Status>;
  /** Copies that the server refused for good: set aside, their edits carried over where they can be told apart. */
  readonly asides: Live<readonly Aside[]>;
  /** Resolves once the device's own store is open; it never waits for the network. */
  readonly ready: Promise<void>;
  readonly #origin: string;
  readonly #token: Token;
  readonly #fetch: typeof fetch;
  readonly #keep: number;
  readonly #hub: Hub;
  readonly #home: Promise<Home>;
  readonly #clock = new Clock();
  readonly #pen: Pen;
  readonly #open = new Map<ConversationId, Conversation>();
  readonly #warm = new Map<ConversationId, () => void>();
  readonly #indexes = new Map<string, Promise<void>>();
  readonly #watchers = new Set<(frame: Frame) => void>();
  readonly #pendingSummaries = new Map<ConversationId, Summary>();
  readonly #uses: Use[] = [];
  #asides: Asides | undefined;
  readonly #asidesChanged: () => void;
  #summaries: Summaries | undefined;
  #session: Session | undefined;
  #refresh: ReturnType<typeof setInterval> | undefined;
  #summaryTimer: ReturnType<typeof setTimeout> | undefined;
  #warmTimer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;
  #wasJoined = false;

  constructor(options: SynclineOptions) {
    const { origin, socket } = readAddress(options.url);
    const claims = typeof options.token === "string" ? readClaims(options.token) : undefined;
    const user = options.user ?? claims?.user;
    if (user === undefined || user === "") throw new Error("name the user, or give a token whose `sub` does");
    this.user = user;
    this.device = readDevice(options.device, claims?.device, `syncline/${origin}/${user}`);
    this.#origin = origin;
    this.#token = new Token(options.token);
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
    this.#keep = options.keep ?? KEEP;
    this.#pen = new Pen(`${this.device.id}.opening` as Writer, this.#clock);
    const scope = `syncline/${this.device.id}/${user}`;
    this.#home = Home.open(scope);
    this.#hub = new Hub({
      scope: `${scope}@${origin}`,
      url: socketUrl(socket, this.device),
      device: this.device,
      token: this.#token,
      home: this.#home,
      isOn: options.online ?? true,
      WebSocket: options.WebSocket,
      heard: (frame) => {
        for (const watcher of this.#watchers) watcher(frame);
      },
      storeName: async (name) =>
        this.#storeOf(name, whole(await (await this.#home).read(`generation/${name}`)) ?? 0),
      rejected: (name, refusal) => {
        void this.#asides?.set(name, refusal, (generation) => this.#storeOf(name, generation));
      },
      gone: (name, reason) => void this.#erase(name, reason),
    });
    this.status = liveStatus(this.#hub);
    const asides = new Computed<readonly Aside[]>(() => this.#asides?.view.value ?? []);
    this.asides = asides;
    this.#asidesChanged = () => asides.invalidate();
    const whenOpen = <T>(work: () => T | Promise<T>): Promise<T> => this.ready.then(work);
    this.conversations = new Conversations({
      pen: this.#pen,
      clock: this.#clock,
      index: (quarter) => this.#openIndex(quarter),
      found: (id) => void this.#found(id),
      touched: (ids) => {
        for (const id of ids) this.#open.get(id)?.refresh();
      },
      whenOpen,
    });
    this.preferences = new Preferences(this.#pen, whenOpen);
    this.devices = new Devices(this.#pen, whenOpen);
    this.folders = new Folders(this.#pen, whenOpen);
    this.drafts = new Drafts(this.#pen, whenOpen, (ids) => {
      for (const id of ids) this.#open.get(id as ConversationId)?.refresh();
    });
    this.ready = this.#start();
    this.ready.catch(() => undefined);
  }

  /** One conversation; it is opened when somebody listens to it or does something with it. */
  conversation(id: ConversationId): Conversation {
    const known = this.#open.get(id);
    if (known !== undefined) return known;
    const conversation = new Conversation(id, this.#conversationHost());
    this.#open.set(id, conversation);
    return conversation;
  }

  /** A free-form Yjs document of this user, `notes` say: yours, without a schema. Release it when done. */
  async document(name: string): Promise<OpenDocument> {
    await this.ready;
    const { document, release } = this.#hub.use(`${this.user}/${name}` as DocumentName);
    return { document: await document, release };
  }

  get isOnline(): boolean {
    return this.#hub.isOn;
  }

  connect(): void {
    this.#hub.setOn(true);
  }

  /** Goes offline until `connect`, in all pages of this device. */
  disconnect(): void {
    this.#hub.setOn(false);
  }

  /** Watches the frames that go over this page's socket; none do where another page leads. */
  onFrame(watcher: (frame: Frame) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Whether this page holds the device's socket. */
  get isLeader(): boolean {
    return this.#hub.isLeader;
  }

  /** Resolves once all that was written so far is in this device's own store: a reload before that may lose the last edit. */
  async whenStored(): Promise<void> {
    await this.ready;
    await this.#hub.whenStored();
  }

  /** Asks now what would be asked for in a while: last turns, and conversations that came by import. */
  async refresh(): Promise<void> {
    await this.ready;
    await this.#refreshSummaries();
  }

  /** Asks the HTTP API below `/v1/users/{user}`. */
  async request(path: string, init: RequestInit = {}): Promise<unknown> {
    const token = await this.#token.current();
    const headers = new Headers(init.headers);
    if (token !== "") headers.set("authorization", `Bearer ${token}`);
    const url = `${this.#origin}/v1/users/${encodeURIComponent(this.user)}${path}`;
    const started = Date.now();
    const answer = await this.#fetch(url, { ...init, headers });
    this.#readClock(answer.headers.get("date"), (started + Date.now()) / 2);
    if (answer.status === 401) this.#token.invalidate();
    if (!answer.ok) throw new Error(`the server answered ${answer.status} to ${path}`);
    return answer.status === 204 ? undefined : answer.json();
  }

  /** Ends in good order: everything is in the device's own store, and goes on from there next time. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.ready.catch(() => undefined);
    clearInterval(this.#refresh);
    clearTimeout(this.#summaryTimer);
    clearTimeout(this.#warmTimer);
    await this.#storeSummaries();
    for (const view of [this.preferences, this.devices, this.folders, this.drafts]) view.close();
    await this.#hub.close();
    await this.#session?.close();
    (await this.#home).close();
  }

  async #start(): Promise<void> {
    const home = await this.#home;
    const scope = `syncline/${this.device.id}/${this.user}`;
    this.#session = await takeSession(scope, home);
    const writers = [this.#session.name, ...this.#session.dead].map((name) =>
      parseWriter(`${this.device.id}.${name}`),
    );
    const [own, ...dead] = writers.filter((writer) => writer !== undefined);
    if (own === undefined) throw new Error("the device's id makes no writer");
    this.#pen.begin(own, new Set(dead));
    const offset = await home.read("clock");
    if (typeof offset === "number") this.#clock.correct(offset);
    const get = (path: string) => this.request(path);
    const markOf = (id: ConversationId) => this.conversations.mark(id)?.seq;
    const untold = () => this.conversations.untold;
    const summaries = new Summaries(home, get, markOf, untold, (changes) => {
      this.conversations.summariesChanged(changes.keys());
      void this.#openQuarters(changes.keys());
    });
    this.#summaries = summaries;
    this.conversations.setGone((await home.list("gone")).flatMap(([id]) => parseConversationId(id) ?? []));
    this.#asides = new Asides(home, this.#hub, this.device, (name) => void this.#rebind(name));
    this.#asides.view.subscribe(this.#asidesChanged);
    await this.#asides.load();
    this.#hub.onNews((topic) => void this.#heardNews(topic));
    this.#hub.subscribe(() => this.#statusChanged());
    this.#hub.start();
    await Promise.all([
      this.#openProfile(),
      this.#openMarks(),
      this.#openDrafts(),
      this.#openKnownIndexes(home),
    ]);
    this.conversations.setSummaries(summaries);
    await summaries.load();
    this.conversations.subscribe(() => this.#keepWarmSoon());
    this.#hub.onLed(() => void this.#led());
    void this.devices.enter(this.device);
    this.#refresh = setInterval(() => {
      if (typeof document === "undefined" || document.visibilityState === "visible")
        void this.#refreshSummaries();
    }, REFRESH_MS);
    inBackground(this.#refresh);
  }

  async #base(name: string): Promise<SyncedDocument> {
    const use = this.#hub.use(`${this.user}/${name}` as DocumentName);
    this.#uses.push(use);
    return use.document;
  }

  #registers(document: SyncedDocument, root: string, ranking: Ranking): Registers {
    const registers = new Registers(document.doc.getMap(root), ranking, (hlc) => this.#clock.observe(hlc));
    this.#pen.fold(registers, ranking);
    return registers;
  }

  async #openProfile(): Promise<void> {
    const document = await this.#base("profile");
    this.preferences.open(this.#registers(document, "preferences", "source"));
    this.devices.open(this.#registers(document, "devices", "time"));
    this.folders.open(this.#registers(document, "folders", "time"));
  }

  async #openMarks(): Promise<void> {
    this.conversations.setMarks(this.#registers(await this.#base("marks"), "marks", "value"));
  }

  async #openDrafts(): Promise<void> {
    this.drafts.open(this.#registers(await this.#base("drafts"), "drafts", "time"));
  }

  /** The quarters this device knows of, and the present one. */
  async #openKnownIndexes(home: Home): Promise<void> {
    const known = (await home.list("quarter")).map(([quarter]) => quarter).filter(isQuarter);
    const quarters = new Set([...known, quarterAt(this.#clock.now)]);
    await Promise.all([...quarters].map((quarter) => this.#openIndex(quarter)));
  }

  #openIndex(quarter: string): Promise<void> {
    const known = this.#indexes.get(quarter);
    if (known !== undefined) return known;
    const opening = (async () => {
      const home = await this.#home;
      await home.write([[`quarter/${quarter}`, true]]);
      const document = await this.#base(`index/${quarter}`);
      this.#pen.fold(this.conversations.addIndex(quarter, document), "time");
    })();
    this.#indexes.set(quarter, opening);
    return opening;
  }

  async #openQuarters(ids: Iterable<ConversationId>): Promise<void> {
    const quarters = new Set([...ids].map((id) => quarterAt(msOf(id))));
    await Promise.all([...quarters].map((quarter) => this.#openIndex(quarter)));
  }

  async #found(id: ConversationId): Promise<void> {
    await this.ready;
    const use = this.#hub.use(this.#nameOf(id));
    const { doc } = await use.document;
    doc.transact(() => foundConversation(doc, id, this.user), this.#pen);
    use.release();
  }

  #nameOf(id: ConversationId): DocumentName {
    return `${this.user}/c/${id}` as DocumentName;
  }

  #conversationHost(): ConversationHost {
    return {
      pen: this.#pen,
      clock: this.#clock,
      user: this.user,
      use: (id) => this.#hub.use(this.#nameOf(id)),
      whenOpen: (work) => this.ready.then(work),
      waits: () => this.#hub.waits(),
      row: (id) => this.conversations.get(id),
      drafts: (id) => this.drafts.of(id),
      setDraft: (id, content) => this.drafts.set(id, content),
      takeDraft: (id, from) => this.drafts.take(id, from),
      removeDraft: (id, req) => this.drafts.removeSent(id, req),
      markRead: (id, upTo) => this.conversations.markRead(id, upTo),
      readUpTo: (id) => this.conversations.mark(id)?.seq ?? 0,
      summarize: (id, summary) => this.#summarize(id, summary),
      isRevoked: (id) => this.devices.get(id as DeviceId)?.revoked === true,
      gone: (id) => this.#goneReason(id),
      kept: async (id) => (await this.#home).read(`delivery/${id}`),
      keep: (id, kept) => void this.#home.then((home) => home.write([[`delivery/${id}`, kept]])),
    };
  }

  /** An open conversation says what was said last; it goes to the store once the burst is over. */
  #summarize(id: ConversationId, summary: Summary): void {
    this.#pendingSummaries.set(id, summary);
    this.#summaryTimer ??= setTimeout(() => void this.#storeSummaries(), SUMMARY_MS);
    inBackground(this.#summaryTimer);
  }

  async #storeSummaries(): Promise<void> {
    this.#summaryTimer = undefined;
    const pending = [...this.#pendingSummaries];
    this.#pendingSummaries.clear();
    for (const [id, summary] of pending) await this.#summaries?.put(id, summary);
  }

  /** This page leads: it goes on with what earlier pages set aside, and keeps the newest conversations fresh. */
  async #led(): Promise<void> {
    this.#asides?.resume();
    this.#keepWarm();
    await this.#refreshSummaries();
  }

  /** Another page changed something in the store that all share. */
  async #heardNews(topic: string): Promise<void> {
    const [kind, name = ""] = topic.split(" ");
    if (kind === "summaries") await this.#summaries?.load();
    if (kind === "gone")
      this.#open.get(name as ConversationId)?.setGone((await this.#goneReason(name)) ?? "gone");
    if (kind !== "replaced") return;
    await this.#asides?.load();
    const old = await this.#hub.drop(name as DocumentName);
    await old?.close();
    await this.#rebind(name as DocumentName);
  }

  /** Another copy of a document took the place of the one that was refused. */
  async #rebind(name: DocumentName): Promise<void> {
    const [kind, id = ""] = name.slice(this.user.length + 1).split("/");
    if (kind === "profile") await this.#openProfile();
    else if (kind === "marks") await this.#openMarks();
    else if (kind === "drafts") await this.#openDrafts();
    else if (kind === "c") this.#open.get(id as ConversationId)?.reopen();
    else if (kind === "index") {
      this.#indexes.delete(id);
      await this.#openIndex(id);
    }
  }

  /** A conversation was erased for good: here, too. */
  async #erase(name: DocumentName, reason: string): Promise<void> {
    const [kind, text = ""] = name.slice(this.user.length + 1).split("/");
    const id = kind === "c" ? parseConversationId(text) : undefined;
    if (id === undefined) return;
    const home = await this.#home;
    await home.write([
      [`gone/${id}`, reason],
      [`open/${name}`, undefined],
      [`delivery/${id}`, undefined],
    ]);
    this.conversation(id).setGone(reason);
    this.conversations.setGone([id]);
    const document = await this.#hub.drop(name);
    await document?.remove();
    this.#pendingSummaries.delete(id);
    await this.#summaries?.forget(id);
    this.#hub.tell(`gone ${id}`);
  }

  async #goneReason(id: string): Promise<string | undefined> {
    const reason = await (await this.#home).read(`gone/${id}`);
    return typeof reason === "string" ? reason : undefined;
  }

  #storeOf(name: DocumentName, generation: number): string {
    const store = `syncline/${this.device.id}/${name}`;
    return generation === 0 ? store : `${store}#${generation}`;
  }

  async #refreshSummaries(): Promise<void> {
    if (!this.#hub.isLeader || !this.#hub.isOn || this.#isClosed) return;
    try {
      if ((await this.#summaries?.refresh()) === true) this.#hub.tell("summaries");
    } catch {
      // Without an answer the list stays as it was; it is asked for again.
    }
    this.#keepWarm();
  }

  /** Others began or went on with conversations. */
  #keepWarmSoon(): void {
    this.#warmTimer ??= setTimeout(() => {
      this.#warmTimer = undefined;
      this.#keepWarm();
    }, SUMMARY_MS);
    inBackground(this.#warmTimer);
  }

  #keepWarm(): void {
    if (!this.#hub.isLeader || this.#isClosed) return;
    const newest = new Set(this.conversations.value.slice(0, this.#keep).map(({ id }) => id));
    for (const [id, release] of this.#warm) {
      if (newest.has(id)) continue;
      this.#warm.delete(id);
      release();
    }
    for (const id of newest) {
      if (!this.#warm.has(id))
        this.#warm.set(
          id,
          this.conversation(id).subscribe(() => undefined),
        );
    }
  }

  /** After every new connection the tables are asked for what happened meanwhile. */
  #statusChanged(): void {
    const { kind } = this.#hub.status;
    const isJoined = kind === "saved" || kind === "saving" || kind === "merging";
    if (isJoined && !this.#wasJoined) void this.#refreshSummaries();
    this.#wasJoined = isJoined;
  }

  #readClock(date: string | null, at: number): void {
    const says = date === null ? Number.NaN : Date.parse(date);
    if (Number.isNaN(says)) return;
    const offset = says + 500 - at;
    const corrected = Math.abs(offset) < CLOCK_MS ? 0 : offset;
    if (Math.abs(corrected - this.#clock.offset) < CLOCK_MS / 2) return;
    this.#clock.correct(corrected);
    void this.#home.then((home) => home.write([["clock", corrected]]));
  }
}

function liveStatus(hub: Hub): Live<Status> {
  return {
    get value() {
      return hub.status;
    },
    subscribe: (listener) => hub.subscribe(listener),
  };
}
