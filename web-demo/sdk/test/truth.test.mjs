// @ts-check
/** Nothing is called saved that is not: killed servers, tokens that run out, tokens that only read, sessions that crashed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import WebSocket from "ws";
import * as Y from "yjs";
import { textOf } from "../dist/index.js";
import { device as open, saved, until } from "./support/device.mjs";
import { Server } from "./support/server.mjs";

let people = 0;
let user = "";

/** A device of the person that this test is about. @type {typeof open} */
const device = (url, name, options = {}) => open(url, name, { user, ...options });

/** A server of this test's own, and a person of its own: all stores are in one process. @param {import("node:test").TestContext} context @param {readonly string[]} [flags] */
async function start(context, flags) {
  people += 1;
  user = `t${people}`;
  const server = await Server.start(flags);
  context.after(() => server.remove());
  return server;
}

test("a killed server: what it had not said is saved stays unsaved, and arrives once", async (context) => {
  const server = await start(context);
  const phone = device(server.url, "phone");
  const id = phone.conversations.create();
  const chat = phone.conversation(id);
  chat.send("one");
  await until(chat, ({ messages }) => messages[0]?.delivery === "everywhere");
  await saved(phone);
  await server.kill();
  chat.send("two");
  const { status } = await until(
    chat,
    ({ messages, status }) => messages.length === 2 && status.kind === "offline",
  );
  assert.deepEqual(status, { kind: "offline", cause: "unreachable", unsaved: 1 });
  assert.equal(chat.value.messages[1]?.delivery, "pending");
  await server.start();
  const { messages } = await until(chat, ({ messages }) => messages[1]?.delivery === "everywhere");
  assert.deepEqual(messages.map(textOf), ["one", "two"]);
  await saved(phone);
  await phone.close();
});

test("no acknowledgement, no 'saved': acks are counted for what they are for", async (context) => {
  const server = await start(context);
  /** @type {(() => void)[]} */
  const held = [];
  let isHolding = false;
  class Holding extends WebSocket {
    /** @param {string} type @param {any} listener */
    // @ts-expect-error: one signature for all
    addEventListener(type, listener) {
      if (type !== "message") return super.addEventListener(/** @type {any} */ (type), listener);
      super.addEventListener("message", (event) => {
        const bytes = new Uint8Array(/** @type {ArrayBuffer} */ (event.data));
        const kind = bytes[1 + (bytes[0] ?? 0)];
        if (isHolding && kind === 8) held.push(() => listener(event));
        else listener(event);
      });
    }
  }
  const phone = device(server.url, "phone", { WebSocket: /** @type {any} */ (Holding), keep: 0 });
  const { document } = await phone.document("notes");
  await until(live(document), ({ kind }) => kind === "saved");
  isHolding = true;
  const text = document.doc.getText("t");
  text.insert(0, "a");
  text.insert(1, "b");
  await until(live(document), (status) => status.kind === "saving" && status.unsaved === 2);
  await new Promise((resolve) => {
    const look = () => (held.length === 2 ? resolve(undefined) : setTimeout(look, 5));
    look();
  });
  held[0]?.();
  assert.deepEqual(document.status, { kind: "saving", unsaved: 1 });
  held[1]?.();
  assert.notEqual(document.status.kind, "saving");
  await phone.close();
});

/** @param {import("../dist/index.js").SyncedDocument} document */
function live(document) {
  return {
    get value() {
      return document.status;
    },
    subscribe: (/** @type {() => void} */ listener) => document.subscribe(listener),
  };
}

test("a token is fetched anew when the last one has run out, and nobody is signed out", async (context) => {
  const server = await start(context, []);
  let fetched = 0;
  const token = async () => {
    fetched += 1;
    return server.token(user, "phone", fetched === 1 ? "7s" : "1h");
  };
  const phone = device(server.url, "phone", { token });
  const id = phone.conversations.create();
  const chat = phone.conversation(id);
  chat.send("one");
  await until(chat, ({ messages }) => messages[0]?.delivery === "everywhere");
  assert.ok(fetched <= 2, "one token serves all documents of a connection");
  await new Promise((resolve) => {
    // The server asks in the middle of the connection, and gets another one.
    const stop = phone.onFrame(({ direction, type }) => {
      if (direction !== "out" || type !== "auth" || fetched < 2) return;
      stop();
      resolve(undefined);
    });
  });
  chat.send("two");
  await until(chat, ({ messages }) => messages[1]?.delivery === "everywhere");
  await saved(phone);
  assert.ok(fetched >= 2 && fetched <= 3, `${fetched} tokens`);
  await phone.close();
});

test("a token that is refused says so; one that ran out while offline is renewed", async (context) => {
  const server = await start(context, []);
  const stranger = device(server.url, "phone", { token: "none" });
  const status = await until(stranger.status, ({ kind }) => kind === "refused");
  assert.ok(status.kind === "refused" && status.code === "unauthorized", JSON.stringify(status));
  await stranger.close();
  // This device's clock is slow: it takes a token that has run out for a good one.
  const real = Date.now;
  context.after(() => {
    Date.now = real;
  });
  const old = await server.token(user, "phone", "1s");
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  Date.now = () => real() - 3_600_000;
  let fetched = 0;
  const token = async () => {
    fetched += 1;
    return fetched === 1 ? old : server.token(user, "phone");
  };
  const phone = device(server.url, "phone", { token });
  await saved(phone);
  await phone.close();
});

test("a token that only reads: edits stay here, and are called refused", async (context) => {
  const server = await start(context, []);
  const owner = device(server.url, "phone", { token: () => server.token(user, "phone") });
  const id = owner.conversations.create({ title: "Rome" });
  await saved(owner);
  const reader = device(server.url, "tablet", { token: () => server.token(user, "tablet", "1h", "reader") });
  await until(reader.conversations, ([row]) => row?.title === "Rome");
  const chat = reader.conversation(id);
  chat.send("not mine to say");
  const { status } = await until(chat, ({ status }) => status.kind === "refused");
  assert.ok(
    status.kind === "refused" && status.code === "read-only" && status.unsaved > 0,
    JSON.stringify(status),
  );
  assert.equal(chat.value.messages[0]?.delivery, "pending");
  await Promise.all([owner.close(), reader.close()]);
});

test("a session that ended without a word is folded into the next with its own time; one that closed is taken up", async (context) => {
  const server = await start(context);
  const phone = device(server.url, "phone");
  await phone.preferences.set("tone", "dry");
  await saved(phone);
  const [before] = phone.preferences.value;
  await phone.close();

  // In good order: the next page writes under the same name.
  const next = device(server.url, "phone");
  await until(next.preferences, (all) => all.length === 1);
  await next.preferences.set("units", "metric");
  assert.equal(next.preferences.get("units")?.writer, before?.writer);
  await saved(next);

  // A crash: nothing is closed. The page after that has another name, and takes what was left.
  const crashed = next;
  const after = device(server.url, "phone");
  await saved(after);
  const tone = await until(
    after.preferences,
    (all) => all.find(({ name }) => name === "tone")?.writer !== before?.writer,
  );
  const folded = tone.find(({ name }) => name === "tone");
  assert.equal(folded?.hlc, before?.hlc, "the original time stays");
  assert.equal(folded?.value, "dry");
  const { document } = await after.document("profile");
  const keys = [...document.doc.getMap("preferences").keys()];
  assert.equal(keys.length, 2, keys.join());
  await Promise.all([crashed.close(), after.close()]);
});

test("times follow the server's clock, not this device's", async (context) => {
  const server = await start(context);
  const real = Date.now;
  const laptop = device(server.url, "laptop");
  await saved(laptop);
  context.after(() => {
    Date.now = real;
  });
  Date.now = () => real() + 3 * 3_600_000;
  const phone = device(server.url, "phone");
  await saved(phone);
  await phone.request("/conversations");
  await phone.preferences.set("tone", "dry");
  Date.now = real;
  const [tone] = await until(laptop.preferences, (all) => all.length === 1);
  assert.ok(Math.abs(Number(tone?.hlc.slice(0, 13)) - real()) < 60_000, tone?.hlc);
  assert.match(tone?.writer ?? "", /^phone\./, "the server had nothing to overrule");
  await Promise.all([phone.close(), laptop.close()]);
});

test("a free-form document is plain Yjs", async (context) => {
  const server = await start(context);
  const [phone, laptop] = [device(server.url, "phone"), device(server.url, "laptop")];
  const [here, there] = [await phone.document("notes"), await laptop.document("notes")];
  here.document.doc.getText("t").insert(0, "hello");
  await new Promise((resolve) => there.document.doc.on("update", resolve));
  assert.equal(there.document.doc.getText("t").toString(), "hello");
  assert.ok(here.document.doc instanceof Y.Doc);
  await Promise.all([phone.close(), laptop.close()]);
});
