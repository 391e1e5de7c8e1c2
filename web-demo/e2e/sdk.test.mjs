// @ts-check
/** The SDK in real pages: several of one browser, reloads, a real IndexedDB. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Server } from "../sdk/test/support/server.mjs";
import { launch } from "./browser.mjs";
import { serveSdk } from "./sdk-site.mjs";

/** @type {Server} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;
/** @type {{ url: string, close: () => void }} */
let site;
let people = 0;

const PATIENCE_MS = 20_000;

before(async () => {
  [server, browser, site] = await Promise.all([Server.start(), launch(), serveSdk()]);
});
after(async () => {
  await browser?.close();
  site?.close();
  await server?.remove();
});

/** A browser profile of one person, with pages of one device. */
async function profile() {
  const context = await browser.newContext();
  people += 1;
  const user = `p${people}`;
  let sockets = 0;
  return {
    context,
    /** Sockets that its pages opened to the server, ever. */
    get sockets() {
      return sockets;
    },
    /** Opens a page with a client and one conversation; the first page makes it. */
    page: async (id = "") => {
      const page = await context.newPage();
      /** @type {string[]} */
      const complaints = [];
      page.on("pageerror", (error) => complaints.push(String(error)));
      page.on("websocket", () => {
        sockets += 1;
      });
      await page.goto(site.url);
      return new Tab(page, await begin(page, { url: server.url, user, id }), complaints, {
        url: server.url,
        user,
      });
    },
  };
}

/** Two pages of one person's browser: the first leads, and what it sent shows on both. */
async function pair() {
  const ada = await profile();
  const one = await ada.page();
  await one.send("one");
  await one.shows(1, "everywhere");
  const two = await ada.page(one.id);
  await two.shows(1);
  return { ada, one, two };
}

/**
 * @param {import("playwright-core").Page} page
 * @param {{ url: string, user: string, id: string }} options
 * @returns {Promise<string>}
 */
async function begin(page, options) {
  await page.waitForFunction(() => "sdk" in window);
  return page.evaluate(async ({ url, user, id }) => {
    const { sdk } = /** @type {any} */ (window);
    const client = new sdk.Syncline({ url, user, device: { id: "laptop", name: "Laptop", kind: "laptop" } });
    await client.ready;
    const own = id === "" ? client.conversations.create({ title: "Tabs" }) : id;
    const chat = client.conversation(own);
    chat.subscribe(() => undefined);
    /** @type {string[]} */
    const said = [];
    const note = () => {
      const { kind } = client.status.value;
      if (said.at(-1) !== kind) said.push(kind);
    };
    client.status.subscribe(note);
    const updates = { count: 0 };
    client.onFrame((/** @type {any} */ frame) => {
      if (frame.direction === "out" && frame.type === "update" && frame.document.endsWith(own))
        updates.count += 1;
    });
    Object.assign(window, { client, chat, said, updates });
    return own;
  }, options);
}

class Tab {
  /**
   * @param {import("playwright-core").Page} page
   * @param {string} id
   * @param {string[]} complaints
   * @param {{ url: string, user: string }} options
   */
  constructor(page, id, complaints, options) {
    this.page = page;
    this.id = id;
    this.complaints = complaints;
    this.options = options;
  }

  /** @param {string} text */
  async send(text) {
    await this.page.evaluate((text) => /** @type {any} */ (window).chat.send(text), text);
  }

  /** The texts of the conversation. @returns {Promise<string[]>} */
  texts() {
    return this.page.evaluate(() => {
      const { chat, sdk } = /** @type {any} */ (window);
      return chat.value.messages.map(sdk.textOf);
    });
  }

  /** @returns {Promise<any>} */
  status() {
    return this.page.evaluate(() => /** @type {any} */ (window).client.status.value);
  }

  /** Resolves once the page shows so many messages, none of them less far than that. @param {number} count @param {string} [least] */
  async shows(count, least = "pending") {
    await this.page.waitForFunction(
      ([count, least]) => {
        const { messages } = /** @type {any} */ (window).chat.value;
        const far = ["pending", "accepted", "everywhere"];
        const isFar = (/** @type {any} */ m) => far.indexOf(m.delivery) >= far.indexOf(String(least));
        return messages.length === count && messages.every(isFar);
      },
      /** @type {const} */ ([count, least]),
      { timeout: PATIENCE_MS },
    );
  }

  /** @param {string} kind */
  async is(kind) {
    await this.page.waitForFunction(
      (kind) => /** @type {any} */ (window).client.status.value.kind === kind,
      kind,
      { timeout: PATIENCE_MS },
    );
  }

  /** Resolves once the page counts so many unsaved edits. @param {number} unsaved */
  async counts(unsaved) {
    await this.page.waitForFunction(
      (unsaved) => /** @type {any} */ (window).client.status.value.unsaved === unsaved,
      unsaved,
      { timeout: PATIENCE_MS },
    );
  }

  isLeader() {
    return this.page.evaluate(() => /** @type {any} */ (window).client.isLeader);
  }

  async reload() {
    await this.page.reload();
    await begin(this.page, { ...this.options, id: this.id });
  }
}

test("pages of one browser share one connection and send nothing twice", async () => {
  const { ada, one, two } = await pair();
  assert.deepEqual([await one.isLeader(), await two.isLeader()], [true, false]);
  const before = await one.page.evaluate(() => /** @type {any} */ (window).updates.count);
  await two.send("two");
  for (const tab of [one, two]) {
    await tab.shows(2, "everywhere");
    await tab.is("saved");
  }
  const sent = await one.page.evaluate(() => /** @type {any} */ (window).updates.count);
  assert.equal(sent - before, 1, "one update for one edit of the other page");
  assert.equal(ada.sockets, 1);
  const writers = await one.page.evaluate(() =>
    /** @type {any} */ (window).chat.value.messages.map((/** @type {any} */ m) => m.by),
  );
  assert.notEqual(writers[0], writers[1], "each page writes under a name of its own");
  assert.deepEqual([...one.complaints, ...two.complaints], []);
  await ada.context.close();
});

test("a page without the socket is as truthful: nothing is saved before its acknowledgement", async () => {
  const { ada, one, two } = await pair();
  await two.shows(1, "everywhere");
  await two.is("saved");
  await server.kill();
  for (const tab of [one, two]) await tab.is("offline");
  await two.send("two");
  await two.send("three");
  for (const tab of [one, two]) {
    await tab.shows(3);
    await tab.counts(2);
    const expected = { kind: "offline", cause: "unreachable", unsaved: 2 };
    assert.deepEqual(await tab.status(), expected);
    const own = await tab.page.evaluate(() => /** @type {any} */ (window).chat.value.status);
    assert.deepEqual(own, expected, "of the conversation, too");
  }
  // A reload of either does not forget it.
  await two.reload();
  await two.shows(3);
  await two.counts(2);
  await server.start();
  for (const tab of [one, two]) {
    await tab.is("saved");
    await tab.shows(3, "everywhere");
    assert.deepEqual(await tab.texts(), ["one", "two", "three"]);
  }
  await ada.context.close();
});

test("a leader that closes hands over, with what was under way", async () => {
  const { ada, one, two } = await pair();
  await Promise.all([two.send("two"), one.page.close()]);
  await two.shows(2, "everywhere");
  await two.is("saved");
  assert.equal(await two.isLeader(), true);
  assert.equal(ada.sockets, 2);
  await two.send("three");
  await two.shows(3, "everywhere");
  assert.deepEqual(await two.texts(), ["one", "two", "three"]);
  await ada.context.close();
});

test("what a page kept and told nobody before it went is saved by the one that leads", async () => {
  const { ada, one, two } = await pair();
  await two.page.evaluate(() => {
    BroadcastChannel.prototype.postMessage = () => undefined;
  });
  await two.send("two");
  await two.shows(2);
  await two.page.evaluate(async (id) => {
    const { client } = /** @type {any} */ (window);
    await (await client.document(`c/${id}`)).document.whenStored();
  }, two.id);
  await two.page.close();
  await one.shows(2, "everywhere");
  await one.is("saved");
  assert.equal(ada.sockets, 1);
  await ada.context.close();
});

test("a leader that does not wake up loses it to a page that is seen", async () => {
  const { ada, one, two } = await pair();
  // As with a page that the browser froze: it holds the lock, and answers nobody.
  await one.page.evaluate(() => {
    const post = BroadcastChannel.prototype.postMessage;
    BroadcastChannel.prototype.postMessage = () => undefined;
    Object.assign(window, { thaw: () => Object.assign(BroadcastChannel.prototype, { postMessage: post }) });
  });
  await two.reload();
  await two.page.waitForFunction(() => /** @type {any} */ (window).client.isLeader, undefined, {
    timeout: PATIENCE_MS,
  });
  await two.send("two");
  await two.shows(2, "accepted");
  await one.page.evaluate(() => /** @type {any} */ (window).thaw());
  await one.shows(2, "accepted");
  await one.send("three");
  for (const tab of [one, two]) {
    await tab.shows(3, "everywhere");
    await tab.is("saved");
  }
  assert.deepEqual([await one.isLeader(), await two.isLeader()], [false, true]);
  await ada.context.close();
});

test("reloads neither lose nor double anything, and leave no trail of writers", async () => {
  const ada = await profile();
  const one = await ada.page();
  for (const [at, text] of ["one", "two", "three"].entries()) {
    await one.send(text);
    await one.shows(at + 1, "everywhere");
    await one.reload();
    await one.shows(at + 1, "everywhere");
  }
  const writers = await one.page.evaluate(() =>
    /** @type {any} */ (window).chat.value.messages.map((/** @type {any} */ m) => m.by),
  );
  assert.equal(new Set(writers).size, 1);
  await ada.context.close();
});

test("several pages that write at once converge on one order, all of it saved", async () => {
  const ada = await profile();
  const one = await ada.page();
  const tabs = [one, await ada.page(one.id), await ada.page(one.id)];
  await Promise.all(tabs.flatMap((tab, at) => [0, 1, 2, 3].map((n) => tab.send(`${at}.${n}`))));
  for (const tab of tabs) {
    await tab.shows(12, "everywhere");
    await tab.is("saved");
  }
  const [first, ...others] = await Promise.all(tabs.map((tab) => tab.texts()));
  for (const other of others) assert.deepEqual(other, first);
  assert.equal(ada.sockets, 1);
  await ada.context.close();
});
