/** One conversation: the branch that is shown, and what people do with it. */
import * as Y from "yjs";
import { type ConversationId, type MessageId, msOf, uuid7, type Writer } from "../model/ids.ts";
import { type Json, store } from "../model/json.ts";
import type { Draft } from "../model/listing.ts";
import type { Message, Part } from "../model/message.ts";
import { TOP } from "../model/order.ts";
import type { PeerDevice, Status } from "../sync/status.ts";
import type { ConversationRow } from "./conversations.ts";
import type { DraftContent } from "./drafts.ts";
import { Listeners, type Live } from "./live.ts";
import { type ConversationHost, OpenConversation } from "./open-conversation.ts";

/** What a conversation shows. */
export interface ConversationState {
  /** `gone`: it was erased for good, here too. */
  readonly phase: "loading" | "ready" | "gone";
  readonly messages: readonly Message[];
  /** Its row in the list: title, conflicts, pinned and so on; undefined until it is known. */
  readonly row: ConversationRow | undefined;
  readonly status: Status;
  /** The other devices that have it. */
  readonly devices: readonly PeerDevice[];
  /** What stands in this device's composer. */
  readonly draft: Draft | undefined;
  /** What stands in the composers of other devices, and can be taken over. */
  readonly otherDrafts: readonly Draft[];
  /** Messages after the last one read or written. */
  readonly unread: number;
}

export interface NewMessage {
  /** Parts of an AI SDK UIMessage; whole when written. */
  readonly parts: readonly Part[];
  readonly role?: string;
  /** The message it follows: the last one shown if not given; null for a first one. */
  readonly parent?: MessageId | null;
  /** The message it is another wording of, or true for whatever answers its parent. */
  readonly alternativeTo?: MessageId | true;
  /** The request it comes of: the same role and request twice is one message. */
  readonly req?: string;
  readonly model?: string;
  /** Whatever else is to be kept with it; small. */
  readonly metadata?: Json;
  readonly id?: MessageId;
}

/** A text, or all that can be said of a message. */
export type MessageContent = string | NewMessage;

const NO_DEVICES: readonly PeerDevice[] = Object.freeze([]);
const LOADING: Status = { kind: "connecting", unsaved: 0 };

export class Conversation implements Live<ConversationState> {
  readonly id: ConversationId;
  readonly #host: ConversationHost;
  readonly #listeners = new Listeners();
  #open: OpenConversation | undefined;
  #opening: Promise<OpenConversation> | undefined;
  #gone: string | undefined;
  #users = 0;
  #value: ConversationState;
  #isStale = true;

  constructor(id: ConversationId, host: ConversationHost) {
    this.id = id;
    this.#host = host;
    this.#value = {
      phase: "loading",
      messages: [],
      row: undefined,
      status: LOADING,
      devices: NO_DEVICES,
      draft: undefined,
      otherDrafts: [],
      unread: 0,
    };
  }

  get value(): ConversationState {
    if (this.#isStale) {
      this.#isStale = false;
      const value = this.#read(this.#value);
      if (!isSameState(value, this.#value)) this.#value = value;
    }
    return this.#value;
  }

  /** Keeps the conversation open for as long as somebody listens. */
  readonly subscribe = (listener: () => void): (() => void) => {
    const remove = this.#listeners.add(listener);
    const release = this.#hold();
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      remove();
      release();
    };
  };

  /** Resolves once the device's own copy is open, which takes no network. */
  async ready(): Promise<void> {
    await this.#do(() => undefined);
  }

  /** All messages by number of acceptance, hidden ones and other branches too, then what is pending. */
  async all(): Promise<readonly Message[]> {
    return this.#do(({ thread }) => thread.all);
  }

  /** The last message that is shown; null where there is none. */
  async tip(): Promise<MessageId | null> {
    return this.#do(({ thread }) => thread.tip?.id ?? null);
  }

  /** One message, whether it is shown or not; undefined while the conversation is not open. */
  message(id: MessageId): Message | undefined {
    return this.#open?.thread.message(id);
  }

  /** Appends a message behind the last one shown. It is there, as pending, once the device's own copy is open. */
  send(content: MessageContent): MessageId {
    const message = toNew(content);
    const id = message.id ?? this.#drawId();
    void this.#do((open) => this.#append(open, id, message));
    return id;
  }

  /** Sends what stands in this device's composer, and empties it once the message is accepted. */
  async sendDraft(extra: readonly Part[] = []): Promise<MessageId | undefined> {
    const draft = this.#host.drafts(this.id).own;
    if (draft === undefined || (draft.text.trim() === "" && extra.length === 0)) return undefined;
    const words: Part[] = draft.text === "" ? [] : [{ type: "text", text: draft.text }];
    const attached = draft.attachments.filter(
      (part): part is Part => typeof part === "object" && part !== null,
    );
    const model = draft.model === undefined ? {} : { model: draft.model };
    return this.send({ parts: [...attached, ...extra, ...words], req: draft.req, ...model });
  }

  /** Says a message in another way: an edited turn, another answer. Both stay, as alternatives. */
  alternative(of: MessageId, content: MessageContent): MessageId {
    const message = toNew(content);
    const id = message.id ?? this.#drawId();
    void this.#do((open) => {
      const original = open.thread.message(of);
      if (original === undefined) throw new Error("there is no such message to say in another way");
      this.#append(open, id, {
        ...message,
        role: message.role ?? original.role,
        parent: original.parent,
        alternativeTo: original.id,
      });
    });
    return id;
  }

  /** Shows this one of its alternatives. */
  select(message: MessageId): Promise<void> {
    return this.#do(({ thread }) => {
      const parent = thread.message(message)?.parent;
      if (parent !== undefined) this.#host.pen.write(thread.selected, parent ?? TOP, message);
    });
  }

  /** Says what the person thinks of a message; null takes it back. */
  feedback(
    message: MessageId,
    feedback: { v: 1 | 0 | -1; tags?: readonly string[]; text?: string } | null,
  ): Promise<void> {
    const value = feedback === null ? null : { tags: [], ...feedback };
    return this.#do(({ thread }) => this.#host.pen.write(thread.feedback, message, value));
  }

  /** Keeps a message out of sight, or shows it again. */
  hide(message: MessageId, hidden = true): Promise<void> {
    return this.#do(({ thread }) => this.#host.pen.write(thread.hidden, message, hidden));
  }

  /** Asks the server: stop a run, approve a tool call, answer again. It removes what it has acted on. */
  ask(verb: "stop" | "approve" | "regenerate", target: string, value: Json = true): Promise<void> {
    return this.#do(({ control }) => this.#host.pen.write(control, `${verb}/${target}`, value));
  }

  /** Marks what is shown as read, up to a message or to the end; once it is whole, while it comes bit by bit. */
  markRead(upTo?: MessageId): Promise<void> {
    return this.#do(async (open) => {
      await open.whenFilled();
      // Another copy took its place meanwhile, or it was erased.
      if (open !== this.#open) return this.#gone === undefined ? this.markRead(upTo) : undefined;
      const { thread } = open;
      const message =
        upTo === undefined ? thread.messages.findLast(({ seq }) => seq !== null) : thread.message(upTo);
      const seq = upTo === undefined ? thread.last : (message?.seq ?? undefined);
      if (message === undefined || seq === undefined || seq === this.#host.readUpTo(this.id)) return;
      await this.#host.markRead(this.id, { seq, tip: message.id });
    });
  }

  /** Marks a message and what follows as unread. */
  markUnread(from: MessageId): Promise<void> {
    return this.#do(async ({ thread }) => {
      const seq = thread.message(from)?.seq;
      if (seq !== undefined && seq !== null) await this.#host.markRead(this.id, { seq: seq - 1 });
    });
  }

  /** Keeps what stands in this device's composer; an empty text removes it. */
  setDraft(content: DraftContent): Promise<void> {
    return this.#host.setDraft(this.id, content);
  }

  /** Goes on with another device's draft here. Sending either is one message. */
  takeDraft(from: Writer): Promise<void> {
    return this.#host.takeDraft(this.id, from);
  }

  /** Another copy took the place of the one that was open. */
  reopen(): void {
    this.#shut();
    if (this.#users > 0) void this.#opened().catch(() => undefined);
  }

  /** It was erased for good. */
  setGone(reason: string): void {
    this.#gone = reason;
    this.#shut();
    this.#changed();
  }

  /** Something beside the document changed: its row, its drafts. */
  refresh(): void {
    this.#open?.tidy();
    this.#changed();
  }

  #drawId(): MessageId {
    return uuid7(this.#host.clock.now) as MessageId;
  }

  #append({ document, thread }: OpenConversation, id: MessageId, message: NewMessage): void {
    const { pen, clock, user } = this.#host;
    const { parts, role = "user", alternativeTo, req = id, model, metadata } = message;
    const parent = message.parent === undefined ? (thread.tip?.id ?? null) : message.parent;
    const { doc } = document;
    const messages = doc.getMap<unknown>("messages");
    doc.transact(() => {
      if (messages.has(id)) return;
      foundConversation(doc, this.id, user);
      const head = {
        role,
        parent,
        by: pen.writer,
        at: clock.tick(),
        req,
        alt: alternativeTo,
        model,
        metadata,
      };
      const container = new Y.Map<unknown>();
      container.set("head", store(head));
      container.set("parts", store(parts));
      messages.set(id, container);
      thread.said(id);
    }, pen);
  }

  /** Runs on the open conversation, which stays open meanwhile. */
  async #do<T>(work: (open: OpenConversation) => T | Promise<T>): Promise<T> {
    const release = this.#hold();
    try {
      if (this.#open !== undefined) return await work(this.#open);
      const done = this.#host.waits();
      try {
        return await work(await this.#opened());
      } finally {
        done();
      }
    } finally {
      release();
    }
  }

  #hold(): () => void {
    this.#users += 1;
    if (this.#users === 1 && this.#open === undefined) void this.#opened().catch(() => undefined);
    return () => {
      this.#users -= 1;
      // What is opened again in the same breath is not closed in between.
      if (this.#users === 0) queueMicrotask(() => this.#users === 0 && this.#shut());
    };
  }

  #opened(): Promise<OpenConversation> {
    this.#opening ??= this.#host.whenOpen(async () => {
      this.#gone ??= await this.#host.gone(this.id);
      if (this.#gone !== undefined) {
        this.#changed();
        throw new Error(this.#gone);
      }
      const use = this.#host.use(this.id);
      const open = new OpenConversation(
        use,
        await use.document,
        this.#host,
        await this.#host.kept(this.id),
        this.id,
      );
      open.watch(() => this.#changed());
      this.#open = open;
      this.#changed();
      if (this.#users === 0) this.#shut();
      return open;
    });
    this.#opening.catch(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  #shut(): void {
    // One that is still being opened looks itself whether it is wanted.
    if (this.#open === undefined) return;
    this.#open.close();
    this.#open = undefined;
    this.#opening = undefined;
  }

  #read(before: ConversationState): ConversationState {
    const { own, others } = this.#host.drafts(this.id);
    const row = this.#host.row(this.id);
    const open = this.#open;
    // A draft whose message is on its way is not shown again beside it.
    const isSent = (req: string) => open?.thread.messages.some((message) => message.req === req) ?? false;
    const draft = own !== undefined && !isSent(own.req) ? own : undefined;
    const otherDrafts = others.length === 0 ? before.otherDrafts : others.filter(({ req }) => !isSent(req));
    const beside = {
      row,
      draft,
      otherDrafts: others.length === 0 ? NO_DRAFTS : keep(before.otherDrafts, otherDrafts),
    };
    if (this.#gone !== undefined) {
      const status: Status = { kind: "refused", code: "gone", reason: this.#gone, unsaved: 0 };
      return { phase: "gone", messages: NO_MESSAGES, status, devices: NO_DEVICES, unread: 0, ...beside };
    }
    if (open === undefined) return { ...before, ...beside };
    const { status, peers } = open.document;
    const { messages } = open.thread;
    const devices = peers.length === 0 ? NO_DEVICES : peers;
    const phase = open.document.isFilling && messages.length === 0 ? "loading" : "ready";
    return { phase, messages, status, devices, unread: open.unread, ...beside };
  }

  #changed(): void {
    this.#isStale = true;
    this.#listeners.tell();
  }
}

const NO_MESSAGES: readonly Message[] = Object.freeze([]);
const NO_DRAFTS: readonly Draft[] = Object.freeze([]);

function isSameState(a: ConversationState, b: ConversationState): boolean {
  return (Object.keys(a) as (keyof ConversationState)[]).every((key) => a[key] === b[key]);
}

function keep(before: readonly Draft[], now: readonly Draft[]): readonly Draft[] {
  return before.length === now.length && now.every((draft, at) => draft === before[at]) ? before : now;
}

function toNew(content: MessageContent): NewMessage {
  return typeof content === "string" ? { parts: [{ type: "text", text: content }] } : content;
}

/** Says what a conversation is, where nobody did yet. */
export function foundConversation(doc: Y.Doc, id: ConversationId, owner: string): void {
  const meta = doc.getMap<unknown>("meta");
  const entries = { v: 1, id, owner, createdAt: msOf(id) };
  for (const [key, value] of Object.entries(entries)) if (!meta.has(key)) meta.set(key, value);
}
