// @ts-check
/** Devices of one person against the real server: what merges, and what each of them may say of it. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { textOf } from "../dist/index.js";
import { device, saved, until } from "./support/device.mjs";
import { Server } from "./support/server.mjs";

/** @type {Server} */
let server;
before(async () => {
  server = await Server.start();
});
after(() => server.remove());

let people = 0;
/** Every test has a person of its own. */
function person() {
  people += 1;
  const user = `p${people}`;
  /** @type {import("../dist/index.js").Syncline[]} */
  const open = [];
  return {
    user,
    /** @param {string} name @param {Partial<import("../dist/index.js").SynclineOptions>} [options] */
    device(name, options = {}) {
      const client = device(server.url, name, { user, ...options });
      open.push(client);
      return client;
    },
    close: () => Promise.all(open.map((client) => client.close())),
  };
}

/** @param {import("../dist/index.js").Conversation} chat */
const texts = (chat) => chat.value.messages.map(textOf);
/** @param {readonly import("../dist/index.js").Message[]} messages */
const accepted = (messages) => messages.every(({ delivery }) => delivery !== "pending");

/** Lets the clock go on, so that what comes is later by it. */
function nextMoment() {
  const now = Date.now();
  while (Date.now() <= now + 1);
}

test("works offline from the first load; a reload shows what is unsaved, and it arrives", async () => {
  const ada = person();
  const phone = ada.device("phone", { online: false });
  const id = phone.conversations.create({ title: "Rome" });
  const chat = phone.conversation(id);
  const stop = chat.subscribe(() => undefined);
  chat.send("hello");
  await until(chat, ({ messages }) => messages.length === 1);
  assert.equal(chat.value.messages[0]?.delivery, "pending");
  const offline = await until(phone.status, ({ kind }) => kind === "offline");
  assert.ok("unsaved" in offline && offline.unsaved >= 3, JSON.stringify(offline));
  stop();
  await phone.close();

  const again = ada.device("phone", { online: false });
  const kept = again.conversation(id);
  await until(kept, ({ phase }) => phase === "ready");
  assert.deepEqual(texts(kept), ["hello"]);
  assert.equal(again.conversations.get(id)?.title, "Rome");
  const { status } = kept.value;
  assert.ok(status.kind === "offline" && status.unsaved > 0, "what was unsaved before the reload still is");
  again.connect();
  await saved(again);
  await until(kept, ({ messages }) => accepted(messages));
  const told = await again.request(`/conversations/${id}/messages`);
  assert.equal(/** @type {any} */ (told).items.length, 1);
  await ada.close();
});

test("a conversation that is not opened again is saved all the same", async () => {
  const ada = person();
  const phone = ada.device("phone", { online: false });
  const id = phone.conversations.create();
  const chat = phone.conversation(id);
  chat.send("left behind");
  await until(chat, ({ messages }) => messages.length === 1);
  await phone.close();
  const again = ada.device("phone", { keep: 0 });
  await saved(again);
  const told = await again.request(`/conversations/${id}/messages`);
  assert.equal(/** @type {any} */ (told).items.length, 1, "what is called saved is on the server");
  const laptop = ada.device("laptop");
  await until(laptop.conversation(id), ({ messages }) => messages.length === 1);
  await ada.close();
});

test("both send offline: both are kept, the server's order counts, and each message says how far it is", async () => {
  const ada = person();
  const [phone, laptop] = [ada.device("phone"), ada.device("laptop")];
  const id = phone.conversations.create();
  const [here, there] = [phone.conversation(id), laptop.conversation(id)];
  here.send("first");
  await until(there, ({ messages }) => messages.length === 1);
  laptop.disconnect();
  phone.disconnect();
  await until(laptop.status, ({ kind }) => kind === "offline");
  here.send("from the phone");
  there.send("from the laptop");
  await until(here, ({ messages }) => messages.length === 2);
  await until(there, ({ messages }) => messages.length === 2);
  assert.equal(there.value.messages[1]?.delivery, "pending");
  phone.connect();
  const { messages } = await until(here, ({ messages }) => accepted(messages));
  assert.equal(messages[1]?.delivery, "accepted", "the laptop lacks it");
  laptop.connect();
  for (const chat of [here, there]) {
    await until(
      chat,
      ({ messages }) => messages.length === 3 && messages.every((m) => m.delivery === "everywhere"),
    );
    assert.deepEqual(texts(chat), ["first", "from the phone", "from the laptop"]);
  }
  await ada.close();
});

test("both rename: the later name counts, the other is a hint that can be taken and undone", async () => {
  const ada = person();
  const [phone, laptop] = [ada.device("phone"), ada.device("laptop")];
  const id = phone.conversations.create({ title: "Trip" });
  await until(laptop.conversations, (rows) => rows[0]?.title === "Trip");
  phone.disconnect();
  laptop.disconnect();
  await phone.conversations.rename(id, "Rome");
  nextMoment();
  await laptop.conversations.rename(id, "Paris");
  phone.connect();
  laptop.connect();
  for (const client of [phone, laptop]) {
    await until(
      client.conversations,
      ([row]) => row?.title === "Paris" && row.conflicts["title"] !== undefined,
    );
  }
  const hint = phone.conversations.get(id)?.conflicts["title"]?.[0];
  assert.ok(hint);
  assert.equal(hint.value, "Rome");
  await phone.conversations.adopt(id, "title", hint);
  await until(laptop.conversations, ([row]) => row?.title === "Rome");
  await phone.conversations.adopt(id, "title", { value: "Paris" });
  await until(laptop.conversations, ([row]) => row?.title === "Paris");
  await ada.close();
});

test("both say it in another way: alternatives, 2 of 3; choosing one shows it everywhere", async () => {
  const ada = person();
  const [phone, laptop] = [ada.device("phone"), ada.device("laptop")];
  const id = phone.conversations.create();
  const [here, there] = [phone.conversation(id), laptop.conversation(id)];
  const question = here.send("question");
  const answer = here.send({ role: "assistant", parts: [{ type: "text", text: "one" }], parent: question });
  await until(there, ({ messages }) => messages.length === 2);
  phone.disconnect();
  laptop.disconnect();
  here.alternative(answer, "two");
  there.alternative(answer, "three");
  await until(here, ({ messages }) => messages.length === 3);
  await until(there, ({ messages }) => messages.length === 3);
  phone.connect();
  await until(here, ({ messages }) => accepted(messages));
  laptop.connect();
  const { messages } = await until(here, ({ messages }) => messages[1]?.alternatives.count === 3);
  assert.deepEqual(texts(here), ["question", "three"]);
  assert.equal(messages[1]?.alternatives.index, 3);
  assert.equal(messages[1]?.role, "assistant");
  await here.select(/** @type {any} */ (messages[1]?.alternatives.ids[1]));
  await until(
    there,
    ({ messages }) => messages[1]?.alternatives.index === 2 && messages[1].alternatives.count === 3,
  );
  assert.deepEqual(texts(there), ["question", "two"]);
  await there.hide(/** @type {any} */ (there.value.messages[1]?.id));
  await until(here, ({ messages }) => messages.length === 1);
  await here.feedback(question, { v: 1, tags: ["kind"] });
  await until(there, ({ messages }) => messages[0]?.feedback?.v === 1);
  await ada.close();
});

test("a draft is taken over; sending both is one message, and the drafts are gone", async () => {
  const ada = person();
  const [phone, laptop] = [ada.device("phone"), ada.device("laptop")];
  const id = phone.conversations.create();
  const [here, there] = [phone.conversation(id), laptop.conversation(id)];
  await here.setDraft({ text: "Where sh" });
  const { otherDrafts } = await until(there, ({ otherDrafts }) => otherDrafts.length === 1);
  const [draft] = otherDrafts;
  assert.ok(draft);
  await there.takeDraft(draft.writer);
  await until(here, (state) => state.draft?.takenBy !== undefined);
  phone.disconnect();
  await there.sendDraft();
  await here.sendDraft();
  phone.connect();
  for (const chat of [here, there]) {
    await until(
      chat,
      ({ messages, draft }) => messages.length === 1 && accepted(messages) && draft === undefined,
    );
    assert.deepEqual(texts(chat), ["Where sh"]);
  }
  await until(phone.drafts, (drafts) => drafts.length === 0);
  await ada.close();
});

test("what is read on one device is read on all; a person's own turn reads what came before", async () => {
  const ada = person();
  const [phone, laptop] = [ada.device("phone"), ada.device("laptop")];
  const id = phone.conversations.create();
  const [here, there] = [phone.conversation(id), laptop.conversation(id)];
  here.send("question");
  for (const text of ["one", "two"]) here.send({ role: "assistant", parts: [{ type: "text", text }] });
  const { messages } = await until(there, ({ messages, unread }) => messages.length === 3 && unread === 2);
  await until(laptop.conversations, ([row]) => row?.unread === 2);
  await there.markRead();
  await until(here, ({ unread }) => unread === 0);
  await until(phone.conversations, ([row]) => row?.unread === 0);
  await here.markUnread(/** @type {any} */ (messages[2]?.id));
  await until(there, ({ unread }) => unread === 1);
  await until(laptop.conversations, ([row]) => row?.unread === 1);
  await ada.close();
});

test("deleted and written in: it shows under deleted, with news; restored it is all there", async () => {
  const ada = person();
  const [phone, laptop] = [ada.device("phone"), ada.device("laptop")];
  const id = phone.conversations.create({ title: "Trip" });
  const [here, there] = [phone.conversation(id), laptop.conversation(id)];
  here.send("one");
  await until(there, ({ messages }) => messages.length === 1 && accepted(messages));
  await until(phone.conversations, ([row]) => row?.last?.seq === 1);
  phone.disconnect();
  await until(phone.status, ({ kind }) => kind === "offline");
  there.send("two");
  await until(there, ({ messages }) => messages.length === 2 && accepted(messages));
  await phone.conversations.delete(id);
  assert.deepEqual(phone.conversations.value, []);
  phone.connect();
  await until(phone.conversations.list({ deleted: true }), ([row]) => row?.news === true);
  await phone.conversations.restore(id);
  await until(laptop.conversations, ([row]) => row?.deleted === false);
  await until(here, ({ messages }) => messages.length === 2);
  assert.deepEqual(texts(here), ["one", "two"]);
  await ada.close();
});

test("what the person sets beats what is inferred later; a block stops inference", async () => {
  const ada = person();
  const [phone, laptop] = [ada.device("phone"), ada.device("laptop")];
  await phone.preferences.set("tone", "dry");
  await until(laptop.preferences, (all) => all[0]?.value === "dry");
  await laptop.preferences.set("tone", "warm", { source: "inferred", confidence: 0.5, evidence: ["x"] });
  const tone = await until(phone.preferences, (all) => all[0]?.conflicts.length === 1);
  assert.deepEqual(
    [tone[0]?.value, tone[0]?.source, tone[0]?.conflicts[0]?.value],
    ["dry", "explicit", "warm"],
  );
  await phone.preferences.clear("tone");
  await until(laptop.preferences, (all) => all.length === 0);
  await laptop.preferences.set("tone", "warm", { source: "inferred", ttl: 60 });
  const inferred = await until(phone.preferences, (all) => all[0]?.value === "warm");
  assert.deepEqual([inferred[0]?.source, inferred[0]?.fresh, inferred[0]?.ttl], ["inferred", true, 60]);
  await phone.preferences.block("tone");
  await until(laptop.preferences, (all) => all[0]?.blocked === true && all[0].value === null);
  await assert.rejects(laptop.preferences.set("tone", "hot", { source: "inferred" }));
  await ada.close();
});

test("devices and folders", async () => {
  const ada = person();
  const [phone, laptop] = [ada.device("phone"), ada.device("laptop")];
  await until(laptop.devices, (all) => all.length === 2);
  await laptop.devices.rename(phone.device.id, "iPhone");
  await until(phone.devices, (all) => all.some(({ name }) => name === "iPhone"));
  const travel = phone.folders.create("Travel");
  const rome = phone.folders.create("Rome", travel);
  await until(laptop.folders, (all) => all.length === 2);
  await laptop.folders.move(travel, rome);
  await until(phone.folders, (all) => all.length === 2 && all.every(({ parent }) => parent === null));
  const id = phone.conversations.create({ folder: rome });
  await until(laptop.conversations.list({ folder: rome }), (rows) => rows[0]?.id === id);
  await ada.close();
});

test("a value is the same object until something of it changes", async () => {
  const ada = person();
  const phone = ada.device("phone");
  const [one, two] = [
    phone.conversations.create({ title: "one" }),
    phone.conversations.create({ title: "two" }),
  ];
  await until(phone.conversations, (rows) => rows.length === 2);
  const chat = phone.conversation(one);
  chat.send("a");
  chat.send("b");
  await until(
    chat,
    ({ messages }) => messages.length === 2 && messages.every((m) => m.delivery === "everywhere"),
  );
  await saved(phone);
  const [state, rows] = [chat.value, phone.conversations.value];
  await phone.conversations.rename(two, "three");
  assert.equal(chat.value, state, "another conversation's title is no news here");
  assert.notEqual(phone.conversations.value, rows);
  const same = (/** @type {string} */ id) => rows.find((row) => row.id === id);
  assert.equal(phone.conversations.get(one), same(one));
  await chat.feedback(/** @type {any} */ (state.messages[0]?.id), { v: 1 });
  assert.notEqual(chat.value.messages[0], state.messages[0]);
  assert.equal(chat.value.messages[1], state.messages[1]);
  await ada.close();
});

test("what is said in a conversation that is still being opened is not shown as saved", async () => {
  const ada = person();
  const before = ada.device("phone");
  const id = before.conversations.create();
  before.conversation(id).send("hello");
  await saved(before);
  await before.close();
  const phone = ada.device("phone");
  await saved(phone);
  phone.conversation(id).send("again");
  assert.notEqual(phone.status.value.kind, "saved");
  await saved(phone);
  const laptop = ada.device("laptop");
  await until(laptop.conversation(id), ({ messages }) => messages.length === 2);
  await ada.close();
});

test("a large conversation comes bit by bit and shows when it is whole; what is said meanwhile follows its end", async () => {
  const ada = person();
  const [phone, laptop] = [ada.device("phone"), ada.device("laptop", { online: false })];
  const id = phone.conversations.create();
  const words = "a few words, so that it takes several slices ".repeat(40);
  for (let at = 0; at < 200; at += 1) phone.conversation(id).send(`${at} ${words}`);
  await saved(phone);
  const there = laptop.conversation(id);
  /** @type {Set<number>} */
  const counts = new Set();
  there.subscribe(() => counts.add(there.value.messages.length));
  const { document } = await laptop.document(`c/${id}`);
  let changes = 0;
  /** @type {string | undefined} */
  let said;
  document.doc.on("update", () => {
    changes += 1;
    if (changes === 2) said = there.send("meanwhile");
  });
  laptop.connect();
  await until(there, ({ messages }) => messages.length === 201 && accepted(messages));
  assert.ok(changes > 5, `it came in ${changes} parts`);
  assert.deepEqual(
    [...counts].filter((count) => count > 1 && count < 200),
    [],
  );
  assert.equal(there.value.messages.at(-1)?.id, said);
  await saved(laptop);
  await ada.close();
});

test("what was told once is not asked for again after a reload, and an import of old conversations is", async () => {
  const ada = person();
  const day = 24 * 60 * 60;
  const now = Math.floor(Date.now() / 1_000);
  await bring(ada.user, 250, now);
  let asked = 0;
  /** @type {typeof fetch} */
  const counted = (input, init) => {
    if (String(input).includes("/conversations?")) asked += 1;
    return fetch(input, init);
  };
  const told =
    (/** @type {number} */ count) =>
    /** @param {readonly import("../dist/index.js").ConversationRow[]} rows */
    (rows) =>
      rows.length === count && rows.every(({ last }) => last !== null);
  const options = { fetch: counted, keep: 0 };
  const first = ada.device("laptop", options);
  await until(first.conversations, told(250));
  await first.refresh();
  await first.close();
  assert.ok(asked >= 4, `${asked} pages of three lists`);
  asked = 0;
  const second = ada.device("laptop", options);
  await until(second.conversations, told(250));
  await saved(second);
  await second.refresh();
  assert.ok(asked > 0 && asked % 3 === 0, `one page of each list at a time, not ${asked}`);
  await bring(ada.user, 260, now - 30 * day);
  await until(second.conversations, (rows) => rows.length === 510);
  await second.refresh();
  await until(second.conversations, told(510));
  await ada.close();
});

/** Imports so many conversations of one turn, the newest of which ended then. @param {string} user @param {number} count @param {number} end */
async function bring(user, count, end) {
  const account = Array.from({ length: count }, (_, at) => {
    const [id, turn] = [crypto.randomUUID(), crypto.randomUUID()];
    const message = {
      id: turn,
      author: { role: "user" },
      create_time: end - at,
      content: { content_type: "text", parts: [`turn ${at}`] },
    };
    const mapping = { [turn]: { id: turn, parent: null, children: [], message } };
    return {
      title: `Of ${end}, ${at}`,
      conversation_id: id,
      create_time: end - at,
      update_time: end - at,
      current_node: turn,
      mapping,
    };
  });
  const answer = await fetch(`${server.url}/v1/users/${user}/import`, {
    method: "POST",
    body: JSON.stringify(account),
  });
  assert.ok(answer.ok);
  await answer.text();
}
