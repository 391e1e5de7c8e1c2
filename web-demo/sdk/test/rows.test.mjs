// @ts-check
/** A list that is brought up to date is the list that would be made anew. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { byPlace, fits, updateRows } from "../dist/views/rows.js";

/** @param {number} at @param {number} round @returns {any} */
const row = (at, round) => ({
  id: `id${String(at).padStart(4, "0")}`,
  title: `Conversation ${at}`,
  pinned: (at * 7 + round) % 50 === 0,
  archived: (at * 3 + round) % 11 === 0,
  deleted: false,
  folder: null,
  tags: /** @type {string[]} */ ([]),
  activeAt: (at * 7_919 + round * 104_729) % 1_000,
});

for (const [name, count] of /** @type {const} */ ([
  ["few rows", 5],
  ["many rows", 300],
]))
  test(`${name} changed at once: each in its place, those that do not fit out`, () => {
    /** @type {Map<string, import("../dist/index.js").ConversationRow>} */
    const all = new Map();
    /** @type {readonly import("../dist/index.js").ConversationRow[]} */
    let list = [];
    for (let round = 0; round < 60; round += 1) {
      /** @type {typeof all} */
      const changed = new Map();
      for (let at = 0; at < count; at += 1) {
        const next = row((at * 13 + round * 31) % 700, round);
        changed.set(next.id, next);
        all.set(next.id, next);
      }
      list = updateRows(list, changed, {});
      const anew = [...all.values()].filter((each) => fits(each, {})).sort(byPlace);
      assert.deepEqual(list, anew);
    }
    assert.equal(updateRows(list, new Map(), {}), list);
  });
