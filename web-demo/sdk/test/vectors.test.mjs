// @ts-check
/** The model's vectors: what each document says to people, as the server's own code reads it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as Y from "yjs";
import { parseHlc } from "../dist/model/hlc.js";
import { parseConversationId, quarterAt } from "../dist/model/ids.js";
import { readDrafts, readListed, readMark } from "../dist/model/listing.js";
import { grouped, readDevice, readFolders, readPreference } from "../dist/model/profile.js";
import { Registers } from "../dist/model/register.js";
import { Thread } from "../dist/model/thread.js";

/**
 * @typedef {{ name: string, document: string, now: number, updates: string[], view: Record<string, unknown> }} Case
 * @type {{ cases: Case[], hlc: { good: string[], bad: string[] }, quarters: { ms: number, quarter: string }[] }}
 */
const vectors = JSON.parse(
  readFileSync(new URL("../../../tests/vectors/model.json", import.meta.url), "utf8"),
);

/** @param {Y.Doc} doc @param {string} root @param {import("../dist/model/register.js").Ranking} ranking */
const registers = (doc, root, ranking = "time") => new Registers(doc.getMap(root), ranking);
/** @param {{ id: string }} a @param {{ id: string }} b */
const byId = (a, b) => (a.id < b.id ? -1 : 1);

/** @param {Y.Doc} doc @param {Case} vector */
function view(doc, { document, now }) {
  const kind = document.split("/")[1];
  if (kind === "profile") {
    const preferences = [...registers(doc, "preferences", "source").fields];
    return {
      preferences: preferences
        .flatMap(([name, field]) => readPreference(name, field, now) ?? [])
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
      devices: [...grouped(registers(doc, "devices").fields)]
        .map(([id, fields]) => readDevice(/** @type {import("../dist/index.js").DeviceId} */ (id), fields))
        .sort(byId),
      folders: readFolders(grouped(registers(doc, "folders").fields)),
    };
  }
  if (kind === "index") {
    const groups = [...grouped(registers(doc, "conversations").fields)];
    return {
      conversations: groups.flatMap(([name, fields]) => {
        const id = parseConversationId(name);
        return id === undefined ? [] : readListed(id, fields);
      }),
    };
  }
  if (kind === "marks") {
    const fields = [...registers(doc, "marks", "value").fields];
    return {
      marks: Object.fromEntries(
        fields.map(([name, field]) => [name.replace(/\|read$/, ""), readMark(field)]),
      ),
    };
  }
  if (kind === "drafts") return { drafts: readDrafts(registers(doc, "drafts").fields) };
  const thread = new Thread(doc);
  const meta = doc.getMap("meta").toJSON();
  return {
    meta: Object.keys(meta).length === 0 ? null : meta,
    selected: thread.messages.map(toTold),
    all: thread.all.map(toTold),
  };
}

/**
 * What the vectors tell of a message; the client knows more.
 * @param {import("../dist/index.js").Message} message
 */
function toTold({ delivery, device, hidden, erased, feedback, ...told }) {
  assert.equal(delivery, told.seq === null ? "pending" : "accepted");
  assert.equal(device, told.by.split(".")[0]);
  const { text, ...rest } = feedback ?? {};
  return {
    ...told,
    ...(hidden ? { hidden } : {}),
    ...(erased ? { erased } : {}),
    ...(feedback === undefined ? {} : { feedback: text === null ? rest : feedback }),
  };
}

/** Empty conflicts are left out, and so is what is undefined. @param {unknown} value */
function plain(value) {
  return JSON.parse(
    JSON.stringify(value, (key, item) =>
      key === "conflicts" && (Array.isArray(item) ? item.length === 0 : Object.keys(item).length === 0)
        ? undefined
        : item,
    ),
  );
}

for (const vector of vectors.cases) {
  const updates = vector.updates.map((hex) => Uint8Array.from(Buffer.from(hex, "hex")));
  for (const [order, list] of [
    ["in order", updates],
    ["backwards", [...updates].reverse()],
  ]) {
    test(`${vector.name}, read whole, ${order}`, () => {
      const doc = new Y.Doc();
      for (const update of /** @type {Uint8Array[]} */ (list)) Y.applyUpdate(doc, update);
      assert.deepEqual(plain(view(doc, vector)), vector.view);
    });
  }
  test(`${vector.name}, brought up to date change by change`, () => {
    const doc = new Y.Doc();
    const isChat = vector.document.split("/")[1] === "c";
    const thread = isChat ? new Thread(doc) : undefined;
    for (const update of updates) {
      // Struct by struct, as far as an update can be taken apart: by its clients.
      for (const piece of pieces(update)) {
        Y.applyUpdate(doc, piece);
        void thread?.messages;
      }
    }
    if (thread === undefined) return;
    assert.deepEqual(plain(thread.messages.map(toTold)), vector.view["selected"]);
    assert.deepEqual(plain(thread.all.map(toTold)), vector.view["all"]);
  });
}

/** Cuts an update into one for every prefix of every client's clock. @param {Uint8Array} update */
function pieces(update) {
  const whole = new Y.Doc();
  Y.applyUpdate(whole, update);
  const { to } = Y.parseUpdateMeta(update);
  /** @type {Uint8Array[]} */
  const cut = [];
  for (const [client, clock] of to) {
    for (let at = 0; at < clock; at += 1) {
      const state = new Map([...to].map(([other]) => [other, other === client ? at : (to.get(other) ?? 0)]));
      cut.push(Y.diffUpdate(update, Y.encodeStateVector(new Map(state))));
    }
  }
  return [...cut.reverse(), update];
}

test("times", () => {
  for (const good of vectors.hlc.good) assert.equal(parseHlc(good), good);
  for (const bad of vectors.hlc.bad) assert.equal(parseHlc(bad), undefined, bad);
});

test("quarters", () => {
  for (const { ms, quarter } of vectors.quarters) assert.equal(quarterAt(ms), quarter);
});
