// @ts-check
/** The adapters against the packages they are for. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ExportedMessageRepository } from "@assistant-ui/react";
import { convertToModelMessages, validateUIMessages } from "ai";
import { fromUIMessage, saveUIMessages, toUIMessages } from "../dist/ai/index.js";
import { historyAdapter, threadListAdapter } from "../dist/assistant-ui/index.js";
import { device, saved, until } from "./support/device.mjs";
import { Server } from "./support/server.mjs";

/** @type {Server} */
let server;
before(async () => {
  server = await Server.start();
});
after(() => server.remove());

/** @type {import("ai").UIMessage[]} */
const CHAT = [
  {
    id: "msg_question",
    role: "user",
    metadata: { from: "a test", deep: [[[[[[[[[[[[[["ground"]]]]]]]]]]]]]] },
    parts: [
      { type: "text", text: "What is the weather in Rome?" },
      { type: "file", mediaType: "image/png", filename: "map.png", url: "https://files.example/map.png" },
    ],
  },
  {
    id: "msg_answer",
    role: "assistant",
    parts: [
      { type: "step-start" },
      { type: "reasoning", text: "They want the weather.", state: "done" },
      {
        type: "tool-weather",
        toolCallId: "call_1",
        state: "output-available",
        input: { city: "Rome" },
        output: { celsius: 21, wind: [1.5, "NE"] },
      },
      { type: "source-url", sourceId: "s1", url: "https://weather.example", title: "Weather" },
      { type: "data-forecast", id: "f1", data: { days: [{ high: 22 }] } },
      { type: "text", text: "It is 21 °C. ☀️", state: "done" },
    ],
  },
];

test("UIMessages go in and come out unchanged, on another device too", async () => {
  const [phone, laptop] = [
    device(server.url, "phone", { user: "ai" }),
    device(server.url, "laptop", { user: "ai" }),
  ];
  const id = phone.conversations.create();
  await saveUIMessages(phone.conversation(id), CHAT);
  await saveUIMessages(phone.conversation(id), CHAT);
  const { messages } = await until(laptop.conversation(id), ({ messages }) => messages.length === 2);
  const out = toUIMessages(messages);
  assert.deepEqual(out, CHAT);
  assert.equal(toUIMessages(messages)[0], out[0], "the same message is the same object");
  await validateUIMessages({ messages: out });
  const model = await convertToModelMessages(out);
  assert.equal(model.length, 3);

  // Another answer stands beside the first.
  const [question] = CHAT;
  assert.ok(question);
  const again = {
    id: "msg_other",
    role: /** @type {const} */ ("assistant"),
    parts: [{ type: /** @type {const} */ ("text"), text: "Sunny." }],
  };
  await saveUIMessages(laptop.conversation(id), [question, again]);
  const shown = await until(phone.conversation(id), ({ messages }) => messages[1]?.alternatives.count === 2);
  assert.deepEqual(shown.messages[1]?.alternatives, { index: 2, count: 2, ids: ["msg_answer", "msg_other"] });
  assert.throws(() => fromUIMessage({ ...again, id: "a b" }), /"a b"/);
  await Promise.all([phone.close(), laptop.close()]);
});

test("assistant-ui's thread list is the conversations", async () => {
  const phone = device(server.url, "phone", { user: "threads" });
  const threads = threadListAdapter(phone);
  const { remoteId } = await threads.initialize("__LOCALID_1");
  await threads.rename(remoteId, "Rome");
  assert.deepEqual(
    (await threads.list()).threads.map(({ title, status }) => [title, status]),
    [["Rome", "regular"]],
  );
  await threads.archive(remoteId);
  assert.equal((await threads.fetch(remoteId)).status, "archived");
  await threads.unarchive?.(remoteId);
  for (let n = 0; n < 60; n += 1) phone.conversations.create();
  await until(phone.conversations, (rows) => rows.length === 61);
  const first = await threads.list();
  const second = await threads.list({ after: first.nextCursor });
  assert.deepEqual([first.threads.length, second.threads.length, second.nextCursor], [50, 11, undefined]);
  await threads.delete(remoteId);
  assert.equal(
    (await threads.list()).threads.some((thread) => thread.remoteId === remoteId),
    false,
  );
  const other = await threads.initialize("__LOCALID_2");
  phone.conversation(/** @type {any} */ (other.remoteId)).send("Where shall we eat?\nSoon.");
  /** @type {any[]} */
  const chunks = [];
  for await (const chunk of /** @type {any} */ (await threads.generateTitle(other.remoteId, [])))
    chunks.push(chunk);
  assert.equal(chunks.find(({ type }) => type === "text-delta").textDelta, "Where shall we eat?");
  await phone.close();
});

test("assistant-ui's history keeps branches, and comes back as it was", async () => {
  const phone = device(server.url, "phone", { user: "history" });
  const conversation = phone.conversation(phone.conversations.create());
  const history = historyAdapter(conversation);
  const like = ExportedMessageRepository.fromBranchableArray([
    { parentId: null, message: { id: "q", role: "user", content: "question" } },
    {
      parentId: "q",
      message: {
        id: "a1",
        role: "assistant",
        content: [
          { type: "reasoning", text: "hm" },
          {
            type: "tool-call",
            toolCallId: "t",
            toolName: "weather",
            args: { city: "Rome" },
            result: { celsius: 21 },
          },
          { type: "text", text: "answer" },
        ],
      },
    },
    { parentId: "q", message: { id: "a2", role: "assistant", content: "another" } },
  ]);
  for (const item of like.messages) await history.append(item);
  await saved(phone);
  await until(conversation, ({ messages }) => messages[1]?.seq === 3);
  const loaded = await history.load();
  assert.equal(loaded.headId, "a2");
  assert.deepEqual(
    loaded.messages.map(({ message, parentId }) => [message.id, parentId, message.role]),
    [
      ["q", null, "user"],
      ["a1", "q", "assistant"],
      ["a2", "q", "assistant"],
    ],
  );
  const [, answer] = loaded.messages;
  const types = answer?.message.content.map(({ type }) => type);
  assert.deepEqual(types, ["reasoning", "tool-call", "text"]);
  const call = /** @type {any} */ (answer?.message.content[1]);
  assert.deepEqual([call.toolName, call.args, call.result], ["weather", { city: "Rome" }, { celsius: 21 }]);
  await phone.close();
});

test("the AI SDK's format in assistant-ui's history is the same messages", async () => {
  const phone = device(server.url, "phone", { user: "format" });
  const conversation = phone.conversation(phone.conversations.create());
  /** As @assistant-ui/react-ai-sdk has it. @type {import("@assistant-ui/react").MessageFormatAdapter<import("ai").UIMessage, any>} */
  const format = {
    format: "ai-sdk/v5",
    encode: ({ message: { id, ...content } }) => content,
    decode: ({ id, parent_id, content }) => ({ parentId: parent_id, message: { id, ...content } }),
    getId: ({ id }) => id,
  };
  const history = historyAdapter(conversation).withFormat?.(format);
  assert.ok(history);
  for (const [at, message] of CHAT.entries())
    await history.append({ parentId: CHAT[at - 1]?.id ?? null, message });
  await until(conversation, ({ messages }) => messages[1]?.seq === 2);
  const loaded = await history.load();
  assert.deepEqual(
    loaded.messages.map(({ message }) => message),
    CHAT,
  );
  assert.deepEqual(toUIMessages(conversation.value.messages), CHAT);
  await phone.close();
});
