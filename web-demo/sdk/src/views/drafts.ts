/** What stands in the composers of a person's devices, per conversation. */
import { type ConversationId, deviceOf, uuid7, type Writer } from "../model/ids.ts";
import { type Json, same } from "../model/json.ts";
import { type Draft, readDrafts } from "../model/listing.ts";
import type { Pen } from "../model/pen.ts";
import type { Registers } from "../model/register.ts";
import { Computed, type Live } from "./live.ts";

/** What a composer holds. */
export interface DraftContent {
  readonly text: string;
  /** Parts of an AI SDK UIMessage; no data URLs. */
  readonly attachments?: readonly Json[];
  readonly model?: string;
}

/** The longest draft, in UTF-16 units: it is written every few seconds, and every device gets it. */
export const DRAFT_LENGTH = 16_000;

type WhenOpen = <T>(work: () => T | Promise<T>) => Promise<T>;

export class Drafts implements Live<readonly Draft[]> {
  readonly #pen: Pen;
  readonly #whenOpen: WhenOpen;
  readonly #changed: (ids: ReadonlySet<string>) => void;
  readonly #view = new Computed<readonly Draft[]>((before) => this.#read(before ?? []));
  #registers: Registers | undefined;

  constructor(pen: Pen, whenOpen: WhenOpen, changed: (ids: ReadonlySet<string>) => void) {
    this.#pen = pen;
    this.#whenOpen = whenOpen;
    this.#changed = changed;
  }

  /** All drafts of all devices, by conversation and writer. */
  get value(): readonly Draft[] {
    return this.#view.value;
  }

  readonly subscribe = (listener: () => void): (() => void) => this.#view.subscribe(listener);

  /** The draft of this page's composer, and those of other devices (and pages) that hold something. */
  of(id: ConversationId): { readonly own: Draft | undefined; readonly others: readonly Draft[] } {
    const all = this.value.filter(({ conversation }) => conversation === id);
    const own = all.find(({ writer }) => writer === this.#pen.writer);
    const others = all.filter((draft) => draft !== own && draft.req !== own?.req && draft.text.trim() !== "");
    return { own, others };
  }

  /** Whether another page of this same device holds it. */
  isOwnDevice(draft: Draft): boolean {
    return deviceOf(draft.writer) === deviceOf(this.#pen.writer);
  }

  set(id: ConversationId, { text, attachments = [], model }: DraftContent): Promise<void> {
    return this.#write((registers) => {
      const own = this.of(id).own;
      if (text === "" && attachments.length === 0) return this.#delete(registers, id, this.#pen.writer);
      if (text.length > DRAFT_LENGTH) throw new Error(`a draft is at most ${DRAFT_LENGTH} characters long`);
      const req = own?.req ?? uuid7(this.#pen.clock.now);
      // Who goes on with a draft goes on holding it.
      const before = registers.field(id)?.find(({ writer }) => writer === this.#pen.writer)?.value;
      const takenBy =
        typeof before === "object" && before !== null && "takenBy" in before ? before.takenBy : undefined;
      this.#pen.write(registers, id, { text, attachments, model, req, takenBy });
    });
  }

  /** Goes on with another's draft here, under the same request: sending either is one message. */
  take(id: ConversationId, from: Writer): Promise<void> {
    return this.#write((registers) => {
      const draft = this.value.find(({ conversation, writer }) => conversation === id && writer === from);
      if (draft === undefined) throw new Error("there is no such draft to take over");
      const { text, attachments, model, req } = draft;
      this.#pen.write(registers, id, { text, attachments, model, req, takenBy: this.#pen.writer });
    });
  }

  /** Removes this device's drafts of a request whose message is accepted. */
  removeSent(id: ConversationId, req: string): Promise<void> {
    return this.#write((registers) => {
      for (const draft of this.value) {
        const isSent = draft.conversation === id && draft.req === req;
        if (isSent && this.isOwnDevice(draft)) this.#delete(registers, id, draft.writer);
      }
    });
  }

  open(registers: Registers): void {
    this.#registers?.destroy();
    this.#registers = registers;
    this.#pen.fold(registers, "time");
    registers.watch((fields) => {
      this.#view.invalidate();
      this.#changed(fields);
    });
    this.#view.invalidate();
    this.#changed(new Set(registers.fields.keys()));
  }

  close(): void {
    this.#registers?.destroy();
    this.#registers = undefined;
  }

  #write(write: (registers: Registers) => void): Promise<void> {
    return this.#whenOpen(() => {
      const registers = this.#registers;
      if (registers === undefined) throw new Error("the drafts are not open");
      registers.map.doc?.transact(() => write(registers), this.#pen);
    });
  }

  #delete(registers: Registers, id: ConversationId, writer: Writer): void {
    const key = `${id}@${writer}`;
    if (registers.map.has(key)) registers.map.delete(key);
  }

  /** Keeps the objects of drafts that did not change. */
  #read(before: readonly Draft[]): readonly Draft[] {
    const known = new Map(before.map((draft) => [`${draft.conversation}@${draft.writer}`, draft]));
    return readDrafts(this.#registers?.fields ?? []).map((draft) => {
      const old = known.get(`${draft.conversation}@${draft.writer}`);
      return old !== undefined && same(old, draft) ? old : draft;
    });
  }
}
