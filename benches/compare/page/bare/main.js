/**
 * The same documents on @hocuspocus/provider and y-indexeddb alone. The page is told which quarters there are, reads titles
 * and the order of turns, and knows of no last turns, unread counts, conflicts or deliveries: no document has them ready.
 */
import { HocuspocusProvider, HocuspocusProviderWebsocket } from "@hocuspocus/provider";
import { IndexeddbPersistence } from "y-indexeddb";
import * as Y from "yjs";
import { asked, drawn } from "../shared.js";

const { server, user, device, conversations, messages, chat, quarters } = asked;
const query = new URLSearchParams({ device });
const websocketProvider = new HocuspocusProviderWebsocket({ url: `${server.replace(/^http/, "ws")}/sync?${query}` });
const stores = [];

function open(name) {
  const doc = new Y.Doc();
  const store = new IndexeddbPersistence(`${user}/${name}`, doc);
  stores.push(store);
  const provider = new HocuspocusProvider({ websocketProvider, name: `${user}/${name}`, document: doc, token: "" });
  // Not before what is stored is there: all of it would go over the wire again, both ways.
  store.whenSynced.then(() => provider.attach());
  return doc;
}

// What is written is in IndexedDB once a transaction that began later has ended.
const stored = async ({ db }) => {
  const { transaction } = db.transaction("updates", "readwrite").objectStore("updates");
  await new Promise((resolve) => transaction.addEventListener("complete", resolve));
};
Object.assign(window, { stored: () => Promise.all(stores.map(stored)) });

const titles = new Map();
const sidebar = drawn("sidebarMs", conversations, (screen) => {
  const ids = [...titles.keys()].sort().slice(-screen).reverse();
  return { count: titles.size, lines: ids.map((id) => titles.get(id)) };
});
for (const quarter of quarters) {
  const index = open(`index/${quarter}`).getMap("conversations");
  index.observe(({ keysChanged }) => {
    for (const key of keysChanged) {
      const [id, field] = key.split(/[|@]/);
      if (field === "title") titles.set(id, index.get(key)?.[1]);
    }
    sidebar();
  });
}
for (const name of ["profile", "marks", "drafts"]) open(name);
if (chat !== undefined) openChat();

function openChat() {
  const doc = open(`c/${chat}`);
  const [containers, accepted] = [doc.getMap("messages"), doc.getMap("accepted")];
  let order;
  const ordered = () => {
    const placed = [...accepted].filter(([, [seq]]) => seq > 0).sort(([, [a]], [, [b]]) => a - b);
    const pending = [...containers.keys()].filter((id) => !accepted.has(id));
    return [...placed.map(([id]) => id), ...pending];
  };
  const turns = drawn("chatMs", messages, (screen) => {
    order ??= ordered();
    return { count: order.length, lines: order.slice(-screen).map((id) => text(containers.get(id))) };
  });
  accepted.observe(() => {
    order = undefined;
    turns();
  });
  containers.observeDeep((events) => {
    if (events.some(({ path }) => path.length === 0)) order = undefined;
    turns();
  });
}

function text(container) {
  const parts = container?.get("parts");
  const live = parts instanceof Y.Map ? [...parts.values()].map((part) => String(part.get("text"))) : undefined;
  return (live ?? parts?.map((part) => part.text) ?? []).join("\n\n");
}
