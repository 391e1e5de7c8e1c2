// @ts-check
/** A large document comes bit by bit: what is thrown, sent or marked meanwhile, and what cannot be applied at all. */
import assert from "node:assert/strict";
import { after, before, mock, test } from "node:test";
import { createDecoder, readVarString, readVarUint } from "lib0/decoding";
import WebSocket from "ws";
import { textOf } from "../dist/index.js";
import { device as open, saved, until } from "./support/device.mjs";
import { Server } from "./support/server.mjs";

const TURNS = 500;
const LARGE = 64 * 1024;
const WORDS = "a few words, so that it takes several slices ".repeat(8);

/** @type {Server} */
let server;
before(async () => {
  server = await Server.start();
});
after(() => server.remove());

/** What goes to the console as an error. @param {import("node:test").TestContext} context */
function errors(context) {
  /** @type {string[]} */
  const told = [];
  const { mock: spy } = mock.method(console, "error", (/** @type {unknown[]} */ ...words) => {
    told.push(words.map(String).join(" "));
  });
  context.after(() => spy.restore());
  return told;
}

/**
 * Two devices of a person: one that says much, and one that has a first turn of it and is switched off.
 * @param {string} user
 * @param {Partial<import("../dist/index.js").SynclineOptions>} [options]
 */
async function pair(user, options = {}) {
  const phone = open(server.url, "phone", { user });
  const laptop = open(server.url, "laptop", { user, ...options });
  const id = phone.conversations.create();
  const [here, there] = [phone.conversation(id), laptop.conversation(id)];
  const first = here.send("first");
  await until(there, ({ messages }) => messages[0]?.delivery === "everywhere");
  await saved(laptop);
  laptop.disconnect();
  for (let at = 0; at < TURNS; at += 1) here.send(`${at} ${WORDS}`);
  await saved(phone);
  const stop = there.subscribe(() => undefined);
  await there.ready();
  const { document } = await laptop.document(`c/${id}`);
  const close = async () => {
    stop();
    await Promise.all([phone.close(), laptop.close()]);
  };
  return { phone, laptop, id, here, there, first, document, close };
}

/** Calls back in the midst of a large update, once. @param {import("../dist/index.js").SyncedDocument} document @param {() => void} work */
function midway(document, work) {
  let slices = 0;
  document.doc.on("update", (_update, origin) => {
    if (origin !== document.serverOrigin || !document.isFilling) return;
    slices += 1;
    if (slices === 3) queueMicrotask(work);
  });
}

test("listeners that throw lose nothing of a large update, nor of what comes behind it", async (context) => {
  const told = errors(context);
  const { laptop, here, there, document, close } = await pair("thrown");
  const offline = there.send("said offline");
  let thrown = 0;
  const fail = () => {
    thrown += 1;
    throw new Error(`thrown ${thrown}`);
  };
  document.doc.getMap("accepted").observe(() => document.isFilling && fail());
  let [isFilling, isJoined] = [false, false];
  document.subscribe(() => {
    const [wasFilling, wasJoined] = [isFilling, isJoined];
    ({ isFilling } = document);
    isJoined = document.link.phase === "joined";
    if (isFilling !== wasFilling || (isJoined && !wasJoined)) fail();
  });
  laptop.connect();
  await until(here, ({ messages }) => messages.at(-1)?.id === offline);
  await until(there, ({ messages }) => messages.length === TURNS + 2);
  await saved(laptop);
  assert.ok(thrown > 4, `thrown ${thrown} times`);
  assert.equal(told.length, 1, told.join("\n"));
  assert.match(told[0] ?? "", /thrown 1$/);
  await close();
});

test("a large update that cannot be applied is asked for again, and is not called received", async (context) => {
  const told = errors(context);
  /** @type {string[]} */
  const seen = [];
  let isBroken = false;
  class Breaking extends WebSocket {
    /** @param {string} type @param {any} listener */
    // @ts-expect-error: one signature for all
    addEventListener(type, listener) {
      if (type !== "message") return super.addEventListener(/** @type {any} */ (type), listener);
      super.addEventListener("message", (event) => {
        const bytes = new Uint8Array(/** @type {ArrayBuffer} */ (event.data));
        if (isBroken || bytes.length < LARGE) return listener(event);
        const decoder = createDecoder(bytes);
        readVarString(decoder);
        assert.equal(readVarUint(decoder), 0, "a change");
        isBroken = true;
        // The update begins after its kind and a length of three bytes; no number is that long.
        listener({ data: bytes.slice().fill(255, decoder.pos + 4).buffer });
      });
    }
  }
  const { laptop, id, there, document, close } = await pair("broken", {
    WebSocket: /** @type {any} */ (Breaking),
  });
  laptop.onFrame(({ direction, document: name, type }) => {
    if (direction === "out" && name.endsWith(id)) seen.push(type);
  });
  laptop.connect();
  await until(
    there,
    ({ messages, status }) => messages.length === TURNS + 1 && status.kind === "saved",
    "the second try",
  );
  assert.equal(document.doc.store.pendingStructs, null);
  const again = seen.lastIndexOf("step1");
  assert.ok(again > seen.indexOf("step1"), seen.join());
  assert.ok(!seen.slice(0, again).includes("stateless"), `called received: ${seen.join()}`);
  assert.match(told.join("\n"), /cannot be applied/);
  await close();
});

test("what is sent while a conversation comes bit by bit follows what is shown, at once", async () => {
  const { laptop, here, there, first, document, close } = await pair("sent");
  /** @type {import("../dist/index.js").MessageId[]} */
  const said = [];
  /** @type {unknown[]} */
  const parents = [];
  midway(document, () => {
    for (const words of ["meanwhile", "and more"]) {
      const message = there.send(words);
      said.push(message);
      parents.push(there.message(message)?.parent);
    }
  });
  laptop.connect();
  const isWhole = (/** @type {import("../dist/index.js").ConversationState} */ { messages }) =>
    messages.length === TURNS + 3 && messages.every(({ seq }) => seq !== null);
  const [{ messages }] = await Promise.all([until(there, isWhole), until(here, isWhole)]);
  assert.deepEqual(parents, [first, said[0]]);
  assert.deepEqual(messages.slice(-2).map(textOf), ["meanwhile", "and more"]);
  await close();
});

test("nothing is marked as read before all of it is shown", async () => {
  const { laptop, id, there, document, close } = await pair("read");
  const before = laptop.conversations.mark(id)?.seq;
  /** @type {Promise<boolean>} */
  const marked = new Promise((resolve, reject) => {
    midway(document, () => {
      there.markRead().then(() => resolve(document.isFilling), reject);
      assert.ok(document.isFilling);
    });
  });
  /** @type {(number | undefined)[]} */
  const marks = [];
  document.doc.on("update", () => document.isFilling && marks.push(laptop.conversations.mark(id)?.seq));
  laptop.connect();
  assert.equal(await marked, false, "marked while it came");
  assert.deepEqual([...new Set(marks)], [before]);
  const { messages } = await until(there, ({ messages }) => messages.length === TURNS + 1);
  assert.equal(laptop.conversations.mark(id)?.seq, messages.at(-1)?.seq);
  await close();
});
