/** assistant-ui: its thread list and the history of a thread, kept in conversations. */
import {
  ExportedMessageRepository,
  type GenericThreadHistoryAdapter,
  type MessageFormatAdapter,
  type MessageFormatItem,
  type RemoteThreadListAdapter,
  type ThreadHistoryAdapter,
} from "@assistant-ui/react";
import {
  type Conversation,
  type ConversationId,
  type ConversationRow,
  type Json,
  type Message,
  type MessageId,
  type NewMessage,
  type Part,
  parseConversationId,
  parseMessageId,
  type Syncline,
  textOf,
} from "../index.ts";
import { fromThreadMessage, toThreadMessage } from "./parts.ts";

export { fromThreadMessage, toThreadMessage } from "./parts.ts";

/** Threads of a page. */
const PAGE = 50;
const TITLE_LENGTH = 60;
/** What a format of another shape than a UIMessage is kept in. */
const KEPT = "data-assistant-ui-format";

type Metadata = Awaited<ReturnType<RemoteThreadListAdapter["fetch"]>>;
type TitleStream = Awaited<ReturnType<RemoteThreadListAdapter["generateTitle"]>>;

/** The thread list: regular and archived conversations, newest first. */
export function threadListAdapter(client: Syncline): RemoteThreadListAdapter {
  const { conversations } = client;
  return {
    async list(page) {
      await client.ready;
      const rows = [...conversations.value, ...conversations.list({ archived: true }).value];
      const from = page?.after === undefined ? 0 : rows.findIndex(({ id }) => id === page.after) + 1;
      const shown = rows.slice(from, from + PAGE);
      const next = from + PAGE < rows.length ? shown.at(-1)?.id : undefined;
      return { threads: shown.map(toMetadata), ...(next === undefined ? {} : { nextCursor: next }) };
    },
    rename: (id, title) => conversations.rename(conversationId(id), title),
    archive: (id) => conversations.archive(conversationId(id)),
    unarchive: (id) => conversations.archive(conversationId(id), false),
    delete: (id) => conversations.delete(conversationId(id)),
    // A local id is none of ours: the conversation has its own.
    initialize: async () => ({ remoteId: conversations.create() }),
    async fetch(id) {
      await client.ready;
      const row = conversations.get(conversationId(id));
      if (row === undefined) throw new Error("there is no such conversation");
      return toMetadata(row);
    },
    async generateTitle(id) {
      const conversation = client.conversation(conversationId(id));
      const first = (await conversation.all()).find(({ role }) => role === "user");
      const title =
        conversations.get(conversation.id)?.title ?? (first === undefined ? "" : shorten(textOf(first)));
      return titleStream(title);
    },
  };
}

/** The history of one thread. It says which branch is shown, and takes edits and other answers as alternatives. */
export function historyAdapter(conversation: Conversation): ThreadHistoryAdapter {
  return {
    scopeId: conversation.id,
    async load() {
      const { all, headId } = await read(conversation);
      const items = all.map((message) => ({ parentId: message.parent, message: toThreadMessage(message) }));
      return ExportedMessageRepository.fromBranchableArray(items, { headId });
    },
    async append({ message, parentId }) {
      await append(conversation, message.id, parentId, fromThreadMessage(message));
    },
    withFormat: (format) => formattedHistory(conversation, format),
  };
}

/** The same in another format, as the AI SDK's runtime asks for. */
function formattedHistory<TMessage, TStorage extends Record<string, unknown>>(
  conversation: Conversation,
  format: MessageFormatAdapter<TMessage, TStorage>,
): GenericThreadHistoryAdapter<TMessage> {
  return {
    async load() {
      const { all, headId } = await read(conversation);
      const messages = all.map((message): MessageFormatItem<TMessage> => {
        const content = toStorage(message) as TStorage;
        return format.decode({ id: message.id, parent_id: message.parent, format: format.format, content });
      });
      return { headId, messages };
    },
    async append(item) {
      const content = fromStorage(format.encode(item));
      await append(conversation, format.getId(item.message), item.parentId, content);
    },
  };
}

/** All messages, parents first, and the last one that is shown. */
async function read(
  conversation: Conversation,
): Promise<{ readonly all: readonly Message[]; readonly headId: string | null }> {
  const all = await conversation.all();
  return { all, headId: await conversation.tip() };
}

async function append(
  conversation: Conversation,
  id: string,
  parentId: string | null,
  content: Pick<NewMessage, "role" | "parts" | "metadata">,
): Promise<void> {
  const own = messageId(id);
  const all = await conversation.all();
  if (all.some((message) => message.id === own)) return;
  const parent = parentId === null ? null : messageId(parentId);
  const sibling = all.find((message) => message.parent === parent && message.role === content.role);
  conversation.send({
    ...content,
    id: own,
    parent,
    ...(sibling === undefined ? {} : { alternativeTo: sibling.id }),
  });
  await conversation.ready();
}

function toMetadata(row: ConversationRow): Metadata {
  return {
    remoteId: row.id,
    status: row.archived ? "archived" : "regular",
    lastMessageAt: new Date(row.activeAt),
    ...(row.title === null ? {} : { title: row.title }),
    custom: { pinned: row.pinned, folder: row.folder, tags: row.tags, unread: row.unread },
  };
}

/** A UIMessage without its id, which is how the AI SDK's format is stored; others are kept whole. */
function toStorage({ role, parts, metadata }: Message): Record<string, unknown> {
  const [first] = parts;
  if (first?.type === KEPT) return first["data"] as Record<string, unknown>;
  return { role, parts, ...(metadata === undefined ? {} : { metadata }) };
}

function fromStorage(content: Record<string, unknown>): Pick<NewMessage, "role" | "parts" | "metadata"> {
  const { role, parts, metadata } = content;
  if (typeof role === "string" && Array.isArray(parts)) {
    const kept = metadata === undefined ? {} : { metadata: metadata as Json };
    return { role, parts: parts as readonly Part[], ...kept };
  }
  return { role: "assistant", parts: [{ type: KEPT, data: content as Json }] };
}

function titleStream(title: string): TitleStream {
  return new ReadableStream({
    start(controller) {
      controller.enqueue({ type: "part-start", path: [], part: { type: "text" } });
      if (title !== "") controller.enqueue({ type: "text-delta", path: [0], textDelta: title });
      controller.enqueue({ type: "part-finish", path: [0] });
      controller.close();
    },
  });
}

function shorten(text: string): string {
  const line = text.trim().split("\n")[0] ?? "";
  return line.length <= TITLE_LENGTH ? line : `${line.slice(0, TITLE_LENGTH - 1).trimEnd()}…`;
}

function conversationId(id: string): ConversationId {
  const known = parseConversationId(id);
  if (known === undefined) throw new Error(`"${id}" is no conversation`);
  return known;
}

function messageId(id: string): MessageId {
  const known = parseMessageId(id);
  if (known === undefined) throw new Error(`a message's id is 1 to 64 of A-Z a-z 0-9 _ -, not "${id}"`);
  return known;
}
