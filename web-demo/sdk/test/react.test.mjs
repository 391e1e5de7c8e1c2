// @ts-check
/** The hooks in a real React tree. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { JSDOM } from "jsdom";
import { device, saved, until } from "./support/device.mjs";
import { Server } from "./support/server.mjs";

/** @type {Server} */
let server;
before(async () => {
  server = await Server.start();
});
after(() => server.remove());

test("components show the list, a conversation, a preference and the status, and stay still when nothing changed", async () => {
  const phone = device(server.url, "phone", { user: "react", keep: 0 });
  const id = phone.conversations.create({ title: "Rome" });
  await saved(phone);

  // React looks for a document when it is loaded.
  const dom = new JSDOM("<main></main>");
  for (const name of /** @type {const} */ (["document", "navigator", "window"])) {
    Object.defineProperty(globalThis, name, { value: dom.window[name], configurable: true });
  }
  const { createElement, memo, StrictMode } = await import("react");
  const { createRoot } = await import("react-dom/client");
  const hooks = await import("../dist/react/index.js");
  let renders = 0;
  const Turn = memo((/** @type {{ message: import("../dist/index.js").Message }} */ { message }) => {
    renders += 1;
    return createElement("li", {}, String(message.parts[0]?.["text"]));
  });
  const Page = () => {
    const rows = hooks.useConversations();
    const archived = hooks.useConversations({ archived: true });
    const { messages, conversation } = hooks.useConversation(id);
    const tone = hooks.usePreference("tone");
    const status = hooks.useSyncStatus();
    assert.equal(conversation.id, id);
    const words = [rows.map(({ title }) => title).join(), archived.length, String(tone?.value), status.kind];
    return createElement(
      "div",
      {},
      createElement("p", {}, words.join("|")),
      createElement(
        "ol",
        {},
        ...messages.map((message) => createElement(Turn, { key: message.id, message })),
      ),
    );
  };
  const root = createRoot(/** @type {Element} */ (dom.window.document.querySelector("main")));
  const client = phone;
  root.render(
    createElement(StrictMode, {}, createElement(hooks.SynclineProvider, { client }, createElement(Page))),
  );
  const shown = {
    get value() {
      return dom.window.document.querySelector("main")?.innerHTML ?? "";
    },
    /** @param {() => void} listener */
    subscribe(listener) {
      const observer = new dom.window.MutationObserver(() => listener());
      observer.observe(dom.window.document, { subtree: true, childList: true, characterData: true });
      return () => observer.disconnect();
    },
  };
  await until(shown, (html) => html.includes("Rome|0|undefined|saved"));
  const chat = phone.conversation(id);
  chat.send("one");
  await until(shown, (html) => html.includes("<li>one</li>"));
  await until(chat, ({ messages }) => messages[0]?.delivery === "everywhere");
  await saved(phone);
  await phone.preferences.set("tone", "dry");
  await until(shown, (html) => html.includes("Rome|0|dry"));
  const before = renders;
  await phone.conversations.rename(id, "Paris");
  await until(shown, (html) => html.includes("Paris|0|dry"));
  assert.equal(renders, before, "a turn is not drawn again for a title");
  root.unmount();
  await phone.close();
});
