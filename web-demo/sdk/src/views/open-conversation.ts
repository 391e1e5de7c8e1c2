/** A conversation whose document is open: its thread, what is unread in it, how far its messages have come. */
import type { Clock } from "../model/hlc.ts";
import { hlcMs } from "../model/hlc.ts";
import type { ConversationId, Writer } from "../model/ids.ts";
import type { Draft } from "../model/listing.ts";
import { type Message, textOf } from "../model/message.ts";
import type { Pen } from "../model/pen.ts";
import { Registers } from "../model/register.ts";
import { Thread } from "../model/thread.ts";
import type { SyncedDocument } from "../sync/document.ts";
import type { Use } from "../sync/hub.ts";
import type { ConversationRow } from "./conversations.ts";
import { Deliveries } from "./delivery.ts";
import type { DraftContent } from "./drafts.ts";
import type { LastTurn, Summary } from "./summaries.ts";

/** What a conversation needs of the client. */
export interface ConversationHost {
  readonly pen: Pen;
  readonly clock: Clock;
  readonly user: string;
  use(id: ConversationId): Use;
  whenOpen<T>(work: () => T | Promise<T>): Promise<T>;
  /** An edit waits for the conversation to be opened, and counts as unsaved until what is returned is called. */
  waits(): () => void;
  row(id: ConversationId): ConversationRow | undefined;
  drafts(id: ConversationId): { readonly own: Draft | undefined; readonly others: readonly Draft[] };
  setDraft(id: ConversationId, content: DraftContent): Promise<void>;
  takeDraft(id: ConversationId, from: Writer): Promise<void>;
  removeDraft(id: ConversationId, req: string): Promise<void>;
  markRead(id: ConversationId, upTo: { readonly seq: number; readonly tip?: string }): Promise<void>;
  readUpTo(id: ConversationId): number;
  summarize(id: ConversationId, summary: Summary): void;
  /** Whether a device is no longer the person's: nobody waits for it. */
  isRevoked(device: string): boolean;
  /** Why a conversation is gone, if it is. */
  gone(id: ConversationId): Promise<string | undefined>;
  kept(id: ConversationId): Promise<unknown>;
  keep(id: ConversationId, kept: unknown): void;
}

/** Characters of a message's text that lists show. */
const PREVIEW = 160;

/** A conversation whose document is open. */
export class OpenConversation {
  readonly document: SyncedDocument;
  readonly thread: Thread;
  readonly control: Registers;
  readonly #use: Use;
  readonly #host: ConversationHost;
  readonly #id: ConversationId;
  readonly #deliveries: Deliveries;
  readonly #unsubscribe: () => void;
  #watcher: (() => void) | undefined;
  #unread: { readonly last: number; readonly read: number; readonly count: number } | undefined;
  #isSummarizing = false;
  readonly #waiting = new Set<() => void>();

  constructor(use: Use, document: SyncedDocument, host: ConversationHost, kept: unknown, id: ConversationId) {
    this.document = document;
    this.#use = use;
    this.#host = host;
    this.#id = id;
    const { doc } = document;
    const observe = (hlc: Parameters<Clock["observe"]>[0]) => host.clock.observe(hlc);
    this.thread = new Thread(doc, observe, document.isFilling);
    this.control = new Registers(doc.getMap("control"), "time", observe);
    for (const registers of [this.thread.selected, this.thread.feedback, this.thread.hidden]) {
      host.pen.fold(registers, "time");
    }
    this.#deliveries = new Deliveries(kept);
    this.thread.setEverywhere(this.#deliveries.everywhere);
    this.thread.watch(() => {
      this.tidy();
      this.#watcher?.();
    });
    this.#unsubscribe = document.subscribe(() => {
      this.thread.setPaused(document.isFilling);
      if (!document.isFilling) this.#filled();
      const { report } = document.link;
      const devices = report?.devices.filter((device) => !host.isRevoked(device.id)) ?? [];
      if (this.#deliveries.report(report, devices, this.thread.last)) {
        host.keep(id, this.#deliveries.kept);
        this.thread.setEverywhere(this.#deliveries.everywhere);
      }
      this.#watcher?.();
    });
    this.tidy();
  }

  watch(watcher: () => void): void {
    this.#watcher = watcher;
  }

  /** Of what is shown: it stays as it was while the document comes bit by bit. */
  get unread(): number {
    if (this.document.isFilling) return this.#unread?.count ?? 0;
    const [last, read] = [this.thread.last, this.#host.readUpTo(this.#id)];
    if (this.#unread?.last !== last || this.#unread.read !== read) {
      this.#unread = { last, read, count: this.thread.unread(read) };
    }
    return this.#unread.count;
  }

  /** Resolves once the document is whole: at once, unless it is coming bit by bit. So it does when this is closed. */
  async whenFilled(): Promise<void> {
    if (this.document.isFilling) await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }

  close(): void {
    this.#watcher = undefined;
    this.#unsubscribe();
    this.#filled();
    this.thread.destroy();
    this.control.destroy();
    this.#use.release();
  }

  #filled(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  /** Tells the list what was said last, and clears drafts whose message is accepted; once for a burst of changes. */
  tidy(): void {
    if (this.#isSummarizing) return;
    this.#isSummarizing = true;
    queueMicrotask(() => {
      this.#isSummarizing = false;
      const { own, others } = this.#host.drafts(this.#id);
      for (const { req } of own === undefined ? others : [own, ...others]) {
        const isAccepted = this.thread.messages.some(
          (message) => message.req === req && message.seq !== null,
        );
        if (isAccepted) void this.#host.removeDraft(this.#id, req);
      }
      const last = this.thread.tip;
      if (last === undefined || this.document.isFilling) return;
      const mark = this.#host.readUpTo(this.#id);
      const seq = Math.max(0, this.thread.last - this.unread);
      this.#host.summarize(this.#id, { last: toTurn(last), read: seq, mark });
    });
  }
}

function toTurn(message: Message): LastTurn {
  const preview = [...textOf(message).slice(0, PREVIEW * 2)].slice(0, PREVIEW).join("");
  return { id: message.id, seq: message.seq, role: message.role, preview, at: hlcMs(message.at) };
}
