/** The AI SDK's `UIMessage`s in and out, unchanged. Type-only: nothing of `ai` is in the bundle. */
import type { UIMessage } from "ai";
import {
  type Conversation,
  type Json,
  type Message,
  type MessageId,
  type NewMessage,
  type Part,
  parseMessageId,
} from "../index.ts";

const ROLES: readonly string[] = ["system", "user", "assistant"] satisfies UIMessage["role"][];

/** The same message gives the same object, so that what renders it stays still. */
const known = new WeakMap<Message, UIMessage>();

/** What `useChat` takes as its messages: the branch that is shown. Roles that the AI SDK has not are left out. */
export function toUIMessages(messages: readonly Message[]): UIMessage[] {
  return messages.filter(({ role }) => ROLES.includes(role)).map(toUIMessage);
}

export function toUIMessage(message: Message): UIMessage {
  const before = known.get(message);
  if (before !== undefined) return before;
  const { id, role, parts, metadata } = message;
  const made: UIMessage = {
    id,
    role: role as UIMessage["role"],
    // What was put in as a part of a UIMessage is one.
    parts: [...parts] as unknown as UIMessage["parts"],
    ...(metadata === undefined ? {} : { metadata }),
  };
  known.set(message, made);
  return made;
}

/** What `conversation.send` takes. Its id stays, so that saving it twice is one message. */
export function fromUIMessage(message: UIMessage): NewMessage & { readonly id: MessageId } {
  const id = parseMessageId(message.id);
  if (id === undefined) throw new Error(`a message's id is 1 to 64 of A-Z a-z 0-9 _ -, not "${message.id}"`);
  return {
    id,
    role: message.role,
    parts: message.parts as unknown as readonly Part[],
    req: id,
    ...(message.metadata === undefined ? {} : { metadata: message.metadata as Json }),
  };
}

/**
 * Saves a chat's messages, from the first to the last, as `useChat`'s `onFinish` gives them. Those that are there stay as
 * they are; one that stands where another stood is an alternative to it (an edit, another answer).
 */
export async function saveUIMessages(
  conversation: Conversation,
  messages: readonly UIMessage[],
): Promise<void> {
  const all = await conversation.all();
  const there = new Set<string>(all.map(({ id }) => id));
  let parent: MessageId | null = null;
  for (const message of messages) {
    const content = fromUIMessage(message);
    if (!there.has(content.id)) {
      const sibling = all.find((other) => other.parent === parent && other.role === message.role);
      conversation.send({
        ...content,
        parent,
        ...(sibling === undefined ? {} : { alternativeTo: sibling.id }),
      });
    }
    parent = content.id;
  }
  await conversation.ready();
}
