// @ts-check
/** Large updates in slices: they come to the same as the whole, and none of them waits for another. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as Y from "yjs";
import { slicesOf } from "../dist/sync/slices.js";

/** A random number below, from a seed. @param {number} seed */
function dice(seed) {
  let state = seed;
  return (/** @type {number} */ below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const CLIENTS = [7, 900, 31, 2 ** 31];
const VALUES = [
  "words",
  "ä 漢字 🧦 𝒳 end",
  null,
  true,
  -1,
  2 ** 31,
  0.5,
  1.1e300,
  { big: 10n },
  new Uint8Array([1, 2]),
  { a: [1, { b: "c" }] },
  [],
];

/** Several authors change all kinds of things, and hear of each other now and then. @param {number} seed */
function written(seed) {
  const roll = dice(seed);
  const docs = CLIENTS.map((_, at) => {
    const doc = new Y.Doc();
    doc.clientID = 1_000 * seed + (CLIENTS[at] ?? 0);
    return doc;
  });
  for (let step = 0; step < 300; step += 1) {
    const doc = docs[roll(docs.length)] ?? new Y.Doc();
    const [map, list, text] = [doc.getMap("map"), doc.getArray("list"), doc.getText("text")];
    const key = `k${roll(12)}`;
    const inner = map.get(key);
    switch (roll(9)) {
      case 0:
        map.set(key, new Y.Map([["text", new Y.Text(`begun ${step} 🧦`)]]));
        break;
      case 1:
        if (inner instanceof Y.Map) inner.get("text")?.insert(0, "more ");
        break;
      case 2:
        map.delete(key);
        break;
      case 3:
        list.insert(roll(list.length + 1), [VALUES[roll(VALUES.length)], VALUES[roll(VALUES.length)]]);
        break;
      case 4:
        if (list.length > 0) list.delete(roll(list.length), 1);
        break;
      case 5:
        text.insert(roll(text.length + 1), `🧦 ${step} `, roll(3) === 0 ? { bold: true } : undefined);
        break;
      case 6:
        if (text.length > 4) text.delete(roll(text.length - 3), 3);
        break;
      case 7:
        doc.getXmlFragment("xml").insert(0, [new Y.XmlElement("p"), new Y.XmlText("x")]);
        break;
      default: {
        const other = docs[roll(docs.length)] ?? doc;
        Y.applyUpdate(doc, Y.encodeStateAsUpdate(other));
      }
    }
  }
  for (const doc of docs) Y.applyUpdate(/** @type {Y.Doc} */ (docs[0]), Y.encodeStateAsUpdate(doc));
  return { whole: /** @type {Y.Doc} */ (docs[0]), part: /** @type {Y.Doc} */ (docs[1]) };
}

/** @param {Y.Doc} doc */
const shown = (doc) => ({
  map: doc.getMap("map").toJSON(),
  list: doc.getArray("list").toJSON(),
  text: doc.getText("text").toDelta(),
  xml: doc.getXmlFragment("xml").toJSON(),
});

/** @param {Y.Doc} doc @param {Uint8Array} update @param {number} bytes */
function applyInSlices(doc, update, bytes) {
  let count = 0;
  for (const slice of slicesOf(update, bytes)) {
    if (slice === undefined) continue;
    Y.applyUpdate(doc, slice);
    assert.equal(doc.store.pendingStructs, null, "a slice waits for another");
    assert.equal(doc.store.pendingDs, null, "a deletion waits for what it deletes");
    count += 1;
  }
  return count;
}

test("slices come to the same as the whole, in a fresh copy and in one that has some of it", (context) => {
  for (let seed = 1; seed <= 60; seed += 1) {
    context.diagnostic(`seed ${seed}`);
    const { whole, part } = written(seed);
    for (const start of [new Y.Doc(), part]) {
      const update = Y.encodeStateAsUpdate(whole, Y.encodeStateVector(start));
      const once = new Y.Doc();
      Y.applyUpdate(once, Y.encodeStateAsUpdate(start));
      Y.applyUpdate(once, update);
      const bit = new Y.Doc();
      Y.applyUpdate(bit, Y.encodeStateAsUpdate(start));
      const bytes = 50 + seed * 5;
      const count = applyInSlices(bit, update, bytes);
      assert.ok(count > 1 || update.length < bytes * 3, `${count} slices of ${update.length} bytes`);
      assert.deepEqual(shown(bit), shown(once));
      assert.deepEqual(Y.encodeStateVector(bit), Y.encodeStateVector(once));
      assert.ok(Y.equalSnapshots(Y.snapshot(bit), Y.snapshot(once)), "the same is deleted");
    }
  }
});

test("what was deleted never shows, not for one slice", () => {
  const doc = new Y.Doc({ gc: false });
  const map = doc.getMap("map");
  for (let at = 0; at < 200; at += 1) map.set(`gone${at}`, "x".repeat(50));
  for (let at = 0; at < 200; at += 1) map.delete(`gone${at}`);
  for (let at = 0; at < 200; at += 1) map.set(`here${at}`, "y");
  const copy = new Y.Doc();
  copy.getMap("map").observe(() => {
    assert.deepEqual(
      [...copy.getMap("map").keys()].filter((key) => key.startsWith("gone")),
      [],
    );
  });
  assert.ok(applyInSlices(copy, Y.encodeStateAsUpdate(doc), 500) > 10);
  assert.equal(copy.getMap("map").size, 200);
});

test("what is no update, or of an unknown form, is left as it is", () => {
  const doc = new Y.Doc();
  doc.getText("text").insert(0, "some words");
  const update = Y.encodeStateAsUpdate(doc);
  const gap = Y.mergeUpdates(
    [0, 1, 2].flatMap((at) => {
      const before = Y.encodeStateVector(doc);
      doc.getMap("map").set("k", at);
      return at === 1 ? [] : [Y.encodeStateAsUpdate(doc, before)];
    }),
  );
  const parent = new Y.Doc();
  parent.getMap("docs").set("sub", new Y.Doc());
  const odd = [
    gap,
    Y.encodeStateAsUpdate(parent),
    Y.encodeStateAsUpdateV2(doc),
    update.subarray(0, -3),
    new Uint8Array(0),
  ];
  for (const bytes of [...odd, Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255)])
    assert.deepEqual([...slicesOf(bytes, 1)], [bytes]);
  // Nothing is read past the end, whatever stands there.
  const roll = dice(1);
  for (let round = 0; round < 2_000; round += 1) {
    const broken = update.slice();
    for (let at = 0; at < 3; at += 1) broken[roll(broken.length)] = roll(256);
    for (const slice of slicesOf(broken, 1)) assert.ok((slice?.length ?? 0) < 1_000);
  }
});
