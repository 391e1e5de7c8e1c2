/** What people set on conversations, read marks and drafts: registers in, what is shown out. */
import { type Hlc, hlcMs } from "./hlc.ts";
import {
  type ConversationId,
  type FolderId,
  type MessageId,
  msOf,
  parseConversationId,
  type Writer,
} from "./ids.ts";
import { isRecord, type Json, read, text, whole } from "./json.ts";
import { type Entry, type Field, type Hint, hints, isTrue, order, winnerText } from "./register.ts";

export type Conflicts = Readonly<Record<string, readonly Hint[]>>;

/** A conversation as its index says it. */
export interface Listed {
  readonly id: ConversationId;
  /** The person's own title, else the automatic one. */
  readonly title: string | null;
  /** Whether the title is the automatic one. */
  readonly autoTitle: boolean;
  readonly pinned: boolean;
  readonly archived: boolean;
  readonly folder: FolderId | null;
  readonly tags: readonly string[];
  readonly createdAt: number;
  readonly deleted: boolean;
  readonly deletedAt: number | undefined;
  /** The last number of acceptance that the deleter had seen. */
  readonly deletedSeq: number | undefined;
  /** Values that lost, by field. */
  readonly conflicts: Conflicts;
}

/** The fields of one thing, by what follows its id and `|`. */
export type Fields = ReadonlyMap<string, Field>;

const NOTHING: Conflicts = Object.freeze({});

export function readListed(id: ConversationId, fields: Fields): Listed {
  const own = winnerText(fields.get("title"));
  const deletion = isTrue(fields.get("deleted")) ? fields.get("deleted")?.[0] : undefined;
  const tags = [...fields].filter(([name, field]) => name.startsWith("tag:") && isTrue(field));
  return {
    id,
    title: (own === "" ? undefined : own) ?? winnerText(fields.get("autotitle")) ?? null,
    autoTitle: own === undefined || own === "",
    pinned: isTrue(fields.get("pinned")),
    archived: isTrue(fields.get("archived")),
    folder: (winnerText(fields.get("folder")) ?? null) as FolderId | null,
    tags: tags.map(([name]) => name.slice(4)).sort(order),
    createdAt: whole(fields.get("made")?.[0]?.value) ?? msOf(id),
    deleted: deletion !== undefined,
    deletedAt: deletion === undefined ? undefined : hlcMs(deletion.hlc),
    deletedSeq: isRecord(deletion?.meta) ? whole(deletion.meta["seq"]) : undefined,
    conflicts: conflictsOf(fields),
  };
}

export function conflictsOf(fields: Fields): Conflicts {
  let conflicts: Record<string, readonly Hint[]> | undefined;
  for (const [name, field] of fields) {
    if (field.length < 2) continue;
    const found = hints(field);
    if (found.length === 0) continue;
    conflicts ??= {};
    conflicts[name] = found;
  }
  return conflicts ?? NOTHING;
}

/**
 * Whether turns came that whoever deleted it had not seen. Judged by number where the deleter noted one, so
 * that no clock counts.
 */
export function hasNews(listed: Listed, lastSeq: number, lastAt: number): boolean {
  if (!listed.deleted) return false;
  if (listed.deletedSeq !== undefined) return lastSeq > listed.deletedSeq;
  return listed.deletedAt !== undefined && lastAt > listed.deletedAt;
}

/** How far a conversation was read. */
export interface Mark {
  /** The number of the last message that was read; lowered when it is marked unread. */
  readonly seq: number;
  readonly tip: MessageId | null;
  readonly hlc: Hlc;
}

/** Reads a mark: one without a number says nothing, and the strongest that has one counts. */
export function readMark(field: Field | undefined): Mark | undefined {
  for (const entry of field ?? []) {
    const seq = whole(entry.value);
    if (seq !== undefined)
      return { seq, tip: (text(entry.meta) ?? null) as MessageId | null, hlc: entry.hlc };
  }
  return undefined;
}

/** What stands in a composer. */
export interface Draft {
  readonly conversation: ConversationId;
  /** Whose composer it stands in. */
  readonly writer: Writer;
  readonly hlc: Hlc;
  readonly text: string;
  readonly attachments: readonly Json[];
  readonly model: string | undefined;
  /** The request that the message will carry: sending it from two devices is one message. */
  readonly req: string;
  /** Who goes on with it elsewhere. */
  readonly takenBy: Writer | undefined;
}

/** Reads the drafts of all conversations, by conversation and writer. */
export function readDrafts(fields: Iterable<readonly [string, Field]>): Draft[] {
  const drafts: Draft[] = [];
  for (const [name, field] of fields) {
    const conversation = parseConversationId(name);
    if (conversation === undefined) continue;
    drafts.push(...field.flatMap((entry) => readDraft(conversation, entry) ?? []));
  }
  // The latest taker holds a request; its own draft is not taken.
  const takers = drafts.filter((draft) => draft.takenBy === draft.writer);
  const settled = drafts.map((draft): Draft => {
    const same = takers.filter((taker) => taker.req === draft.req);
    const holder = same.sort((a, b) => order(b.hlc, a.hlc) || order(b.writer, a.writer))[0]?.writer;
    return { ...draft, takenBy: holder === draft.writer ? undefined : holder };
  });
  return settled.sort((a, b) => order(a.conversation, b.conversation) || order(a.writer, b.writer));
}

function readDraft(conversation: ConversationId, entry: Entry): Draft | undefined {
  if (!isRecord(entry.value)) return undefined;
  const { text: words, req, attachments, model, takenBy } = entry.value;
  if (typeof words !== "string" || typeof req !== "string") return undefined;
  return {
    conversation,
    writer: entry.writer,
    hlc: entry.hlc,
    text: words,
    attachments: Array.isArray(attachments) ? attachments.map(read) : [],
    model: text(model),
    req,
    takenBy: text(takenBy) as Writer | undefined,
  };
}
