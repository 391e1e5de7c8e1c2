// @ts-check
/** What the server will never take is set aside, and everything else goes on; what was erased is gone here too. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as Y from "yjs";
import { textOf } from "../dist/index.js";
import { device, saved, until } from "./support/device.mjs";
import { Server } from "./support/server.mjs";

/** @type {Server} */
let server;
before(async () => {
  server = await Server.start();
});
after(() => server.remove());

/** Nested deeper than the server lets in. */
function abyss() {
  /** @type {unknown} */
  let value = "ground";
  for (let depth = 0; depth < 200; depth += 1) value = [value];
  return value;
}

test("a refused copy is set aside, can be exported, and every valid edit goes on in a fresh one", async () => {
  const user = "aside";
  const [phone, laptop] = [device(server.url, "phone", { user }), device(server.url, "laptop", { user })];
  const id = phone.conversations.create({ title: "Rome" });
  const [here, there] = [phone.conversation(id), laptop.conversation(id)];
  here.send("one");
  await until(there, ({ messages }) => messages[0]?.delivery === "everywhere");
  await saved(phone);
  const { document, release } = await phone.document(`c/${id}`);
  const stop = here.subscribe(() => undefined);
  // Its edits: two that are good, and between them what cannot be taken, now or ever.
  phone.disconnect();
  await until(phone.status, ({ kind }) => kind === "offline");
  here.send("two");
  await until(here, ({ messages }) => messages.length === 2);
  document.doc.getMap("later").set("k", abyss());
  here.send("three");
  await until(here, ({ messages }) => messages.length === 3);
  await here.feedback(/** @type {any} */ (here.value.messages[0]?.id), { v: 1 });
  /** @type {string[]} */
  const said = [];
  here.subscribe(() => said.push(`${here.value.status.kind} ${here.value.messages.map(textOf).join()}`));
  phone.connect();
  const asides = await until(phone.asides, (all) => all[0]?.isCarried === true);
  await until(
    here,
    ({ messages, status }) =>
      messages.length === 3 && messages.every((m) => m.delivery === "everywhere") && status.kind === "saved",
  );
  assert.deepEqual(here.value.messages.map(textOf), ["one", "two", "three"]);
  await until(there, ({ messages }) => messages.length === 3 && messages[0]?.feedback?.v === 1);
  assert.ok(
    said.some((line) => line.startsWith("refused")),
    said.join("\n"),
  );
  const early = said.filter((line) => line.startsWith("saved") && !line.endsWith("one,two,three"));
  assert.deepEqual(early, [], "nothing is called saved while it is neither here nor there");
  // A later edit is saved as if nothing had been.
  here.send("four");
  await until(there, ({ messages }) => messages.length === 4);
  const [aside] = asides;
  assert.equal(aside?.document, `${user}/c/${id}`);
  assert.match(aside.reason, /deep|nest/);
  const copy = new Y.Doc();
  Y.applyUpdate(copy, await aside.export());
  assert.ok(copy.getMap("later").has("k"));
  await aside.discard();
  assert.deepEqual(phone.asides.value, []);
  stop();
  release();
  await phone.close();
  const again = device(server.url, "phone", { user });
  await until(
    again.conversation(id),
    ({ messages, status }) => messages.length === 4 && status.kind === "saved",
  );
  await Promise.all([again.close(), laptop.close()]);
});

test("a refused profile goes on, too", async () => {
  const user = "aside2";
  const [phone, laptop] = [device(server.url, "phone", { user }), device(server.url, "laptop", { user })];
  await phone.preferences.set("tone", "dry");
  await saved(phone);
  const { document } = await phone.document("profile");
  document.doc.getMap("later").set("k", abyss());
  await until(phone.asides, (all) => all[0]?.isCarried === true);
  await phone.preferences.set("tone", "warm");
  await until(laptop.preferences, (all) => all[0]?.value === "warm");
  await saved(phone);
  assert.equal(phone.preferences.get("tone")?.value, "warm");
  await Promise.all([phone.close(), laptop.close()]);
});
