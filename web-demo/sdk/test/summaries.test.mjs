// @ts-check
/** What is known of conversations is what the server's tables say, whatever broke off meanwhile. */
import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Home } from "../dist/sync/home.js";
import { Summaries } from "../dist/views/summaries.js";

const COUNT = 450;
/** @param {number} at @returns {any} */
const idOf = (at) => `01890000-0000-7000-8000-${String(at).padStart(12, "0")}`;

/** A server's table of so many conversations, and a page of a device that asks for it. @param {string} name */
async function account(name) {
  const previews = Array.from({ length: COUNT }, () => "before");
  const asked = { pages: 0, fails: 0 };
  const get = async (/** @type {string} */ path) => {
    asked.pages += 1;
    const query = new URLSearchParams(path.slice(path.indexOf("?")));
    const [from, limit] = [Number(query.get("after") ?? 0), Number(query.get("limit"))];
    if (from > 0 && asked.fails > 0) {
      asked.fails -= 1;
      throw new Error("the network went");
    }
    if (query.has("archived") || query.has("deleted")) return { items: [] };
    const items = previews.slice(from, from + limit).map((preview, at) => {
      const last = { id: `m${from + at}`, seq: 1, role: "user", preview, at: 1 };
      return { id: idOf(from + at), unread: 0, last };
    });
    return { items, ...(from + limit < COUNT ? { next: String(from + limit) } : {}) };
  };
  /** A page that comes anew, with what the store holds. */
  const page = async () => {
    const home = await Home.open(name);
    const none = () => undefined;
    const summaries = new Summaries(home, get, none, () => 0, none);
    await summaries.load();
    return summaries;
  };
  return { previews, asked, page };
}

/** @param {Summaries} summaries */
const shown = (summaries) => previewsOf(summaries).filter((preview, at, all) => all.indexOf(preview) === at);
/** @param {Summaries} summaries */
const previewsOf = (summaries) =>
  Array.from({ length: COUNT }, (_, at) => summaries.get(idOf(at))?.last?.preview);

for (const [how, isReloaded] of /** @type {const} */ ([
  ["in the same page", false],
  ["after a reload", true],
]))
  test(`a refresh that broke off behind its first page is made up for ${how}`, async () => {
    const { previews, asked, page } = await account(`broken-off-${isReloaded}`);
    let summaries = await page();
    await summaries.refresh();
    assert.deepEqual(shown(summaries), ["before"]);
    previews.fill("after");
    asked.fails = 1;
    await assert.rejects(summaries.refresh(), /the network went/);
    if (isReloaded) summaries = await page();
    await summaries.refresh();
    assert.deepEqual(shown(summaries), ["after"]);
    assert.deepEqual(shown(await page()), ["after"], "in the store too");
    // It is over: nothing is new, and one page of each list says so.
    asked.pages = 0;
    assert.equal(await summaries.refresh(), false);
    assert.equal(asked.pages, 3);
  });

test("a preview further down that was erased is gone after an hour, however often the first pages are asked for", async (context) => {
  const { previews, asked, page } = await account("erased");
  const summaries = await page();
  await summaries.refresh();
  const real = Date.now;
  context.after(() => {
    Date.now = real;
  });
  previews[COUNT - 1] = "";
  const later = (/** @type {number} */ minutes) => {
    Date.now = () => real() + minutes * 60_000;
  };
  later(20);
  // A walk over some pages puts the whole one off by nothing.
  previews.fill("news", 0, 300);
  await summaries.refresh();
  later(50);
  await summaries.refresh();
  asked.pages = 0;
  later(61);
  await summaries.refresh();
  assert.equal(summaries.get(idOf(COUNT - 1))?.last?.preview, "");
  assert.equal(asked.pages, 5);
});
