/** assistant-ui's message parts as those of an AI SDK UIMessage, which is what a conversation holds, and back. */
import type { ThreadMessage, ThreadMessageLike } from "@assistant-ui/react";
import { hlcMs, type Json, type Message, type MessageState, type NewMessage, type Part } from "../index.ts";

type ThreadPart = ThreadMessage["content"][number];
type LikePart = Exclude<ThreadMessageLike["content"], string>[number];
type Status = NonNullable<ThreadMessageLike["status"]>;

/** Parts that a UIMessage has no form for, kept whole. */
const KEPT = "data-assistant-ui";

/** What `conversation.send` takes of an assistant-ui message. */
export function fromThreadMessage(message: ThreadMessage): Pick<NewMessage, "role" | "parts"> {
  const attached = message.role === "user" ? message.attachments.flatMap(({ content }) => content ?? []) : [];
  return { role: message.role, parts: [...attached, ...message.content].map(toPart) };
}

/** A message as assistant-ui takes it. */
export function toThreadMessage(message: Message): ThreadMessageLike {
  const role = message.role === "user" || message.role === "system" ? message.role : "assistant";
  return {
    id: message.id,
    role,
    content: message.parts.flatMap(toLikePart),
    createdAt: new Date(hlcMs(message.at)),
    ...(role === "assistant" ? { status: toStatus(message.state) } : {}),
    metadata: { custom: { delivery: message.delivery, alternatives: message.alternatives } },
  };
}

function toPart(part: ThreadPart): Part {
  switch (part.type) {
    case "text":
    case "reasoning":
      return { type: part.type, text: part.text };
    case "image":
      return { type: "file", mediaType: "image/*", url: part.image, ...named(part.filename) };
    case "file":
      return { type: "file", mediaType: part.mimeType, url: part.data, ...named(part.filename) };
    case "source":
      if (part.sourceType !== "url") break;
      return {
        type: "source-url",
        sourceId: part.id,
        url: part.url,
        ...(part.title ? { title: part.title } : {}),
      };
    case "tool-call": {
      const { toolCallId, toolName, args, result, isError } = part;
      const call = { type: "dynamic-tool", toolCallId, toolName, input: args as Json };
      if (result === undefined) return { ...call, state: "input-available" };
      if (isError === true) return { ...call, state: "output-error", errorText: String(result) };
      return { ...call, state: "output-available", output: result as Json };
    }
    case "data":
      return { type: `data-${part.name}`, data: part.data as Json };
  }
  return { type: KEPT, data: part as unknown as Json };
}

function toLikePart(part: Part): LikePart[] {
  const word = (key: string): string => (typeof part[key] === "string" ? part[key] : "");
  const { type } = part;
  if (type === "text" || type === "reasoning") return [{ type, text: word("text") }];
  if (type === "file") {
    const isImage = word("mediaType").startsWith("image/");
    const filename = named(part["filename"]);
    if (isImage) return [{ type: "image", image: word("url"), ...filename }];
    return [{ type: "file", data: word("url"), mimeType: word("mediaType"), ...filename }];
  }
  if (type === "source-url") {
    const title = word("title") === "" ? {} : { title: word("title") };
    return [{ type: "source", sourceType: "url", id: word("sourceId"), url: word("url"), ...title }];
  }
  if (type === KEPT) return [part["data"] as unknown as LikePart];
  if (type === "dynamic-tool" || type.startsWith("tool-")) return [toToolCall(part)];
  if (type.startsWith("data-")) return [{ type: "data", name: type.slice(5), data: part["data"] }];
  // Steps, and what later versions bring, have nothing to show.
  return [];
}

function toToolCall(part: Part): LikePart {
  const toolName = part.type === "dynamic-tool" ? String(part["toolName"]) : part.type.slice(5);
  const input = part["input"];
  const args = typeof input === "object" && input !== null && !Array.isArray(input) ? input : {};
  const isError = part["state"] === "output-error";
  const result = isError ? part["errorText"] : part["output"];
  return {
    type: "tool-call",
    toolCallId: String(part["toolCallId"]),
    toolName,
    args: args as { readonly [key: string]: never },
    ...(result === undefined ? {} : { result, isError }),
  };
}

function toStatus(state: MessageState): Status {
  switch (state) {
    case "submitted":
    case "streaming":
      return { type: "running" };
    case "requires-action":
      return { type: "requires-action", reason: "tool-calls" };
    case "stopped":
      return { type: "incomplete", reason: "cancelled" };
    case "interrupted":
      return { type: "incomplete", reason: "other" };
    case "error":
      return { type: "incomplete", reason: "error" };
    default:
      return { type: "complete", reason: "stop" };
  }
}

function named(filename: unknown): { readonly filename?: string } {
  return typeof filename === "string" ? { filename } : {};
}
