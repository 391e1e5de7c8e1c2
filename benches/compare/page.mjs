// What a page costs on the SDK, and on @hocuspocus/provider alone with the same documents from the same server:
// bytes over the wire, time to an interactive sidebar and chat, memory, CPU while an answer streams in, size of the code.
//
//     node page.mjs [--server-bin PATH] [--conversations 5000] [--messages 10000] [--repeat 3] [--json FILE]
//
// Needs `npm ci` in web-demo, `npm run build -w sdk` there, and a chromium (CHROMIUM names one that is not in PATH).
import { existsSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { account, bring } from "../../web-demo/e2e/account.mjs";
import { launch } from "../../web-demo/e2e/browser.mjs";
import { Server } from "../../web-demo/sdk/test/support/server.mjs";
import { Relay } from "./page/relay.mjs";
import { print } from "./page/report.mjs";
import { serve } from "./page/site.mjs";
import { Visit } from "./page/visit.mjs";

const USER = "large";
const TARGETS = ["sdk", "bare"];
const BINARIES = ["release", "debug"].map((profile) => fileURLToPath(new URL(`../../target/${profile}/syncline`, import.meta.url)));
/** Rows of a page of the API. */
const PAGE = 200;

const { values } = parseArgs({
  options: {
    "server-bin": { type: "string" },
    conversations: { type: "string", default: "5000" },
    messages: { type: "string", default: "10000" },
    repeat: { type: "string", default: "3" },
    seconds: { type: "string", default: "10" },
    tokens: { type: "string", default: "50" },
    json: { type: "string" },
  },
});
const number = (name) => {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} takes a whole number above 0`);
  return value;
};
const [conversations, messages, repeat] = ["conversations", "messages", "repeat"].map(number);
const [seconds, tokens] = ["seconds", "tokens"].map(number);
const binary = values["server-bin"] ?? BINARIES.find((file) => existsSync(file));
if (binary === undefined) throw new Error("no server: `cargo build --release -p syncline-server`, or name one with --server-bin");

/** Ids of all conversations, the newest first. */
async function listed(url) {
  const items = [];
  let after = "";
  do {
    const answer = await fetch(`${url}/v1/users/${USER}/conversations?limit=${PAGE}${after}`);
    const page = await answer.json();
    items.push(...page.items);
    after = page.next === null ? "" : `&after=${encodeURIComponent(page.next)}`;
  } while (after !== "");
  return items;
}

/** The quarter of the time in a UUIDv7. */
function quarterOf(id) {
  const date = new Date(Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16));
  return `${date.getUTCFullYear()}-q${Math.floor(date.getUTCMonth() / 3) + 1}`;
}

/** A cold and a warm visit in one browser profile: only the list, or the list with the large chat. */
async function visits(target, scene) {
  const context = await browser.newContext();
  const figures = {};
  const wanted = asked(target, scene);
  try {
    for (const kind of ["cold", "warm"]) {
      const visit = await Visit.open(context, `${site.url}/${target}/`, wanted);
      figures[kind] = await visit.figures();
      if (scene === "chat" && kind === "warm") figures.memory = await visit.memory();
      await visit.close();
    }
  } finally {
    await context.close();
  }
  return figures;
}

/** What the page's main thread takes with the large chat open: idle, and while an answer streams into it. */
async function streaming(target) {
  const context = await browser.newContext();
  const relay = await Relay.start(server.url, `${USER}/c/${large.id}`);
  try {
    const wanted = { ...asked(target, "chat"), server: relay.url };
    const visit = await Visit.open(context, `${site.url}/${target}/`, wanted);
    await visit.figures();
    const idle = await visit.cpu(() => visit.pause(seconds * 1_000));
    await visit.sees(relay.begin());
    const busy = await visit.cpu(() => relay.write(tokens, seconds));
    await visit.sees(`over ${seconds}`);
    return { idle, busy };
  } finally {
    await context.close();
    relay.close();
  }
}

/** What a page is to open, as a device of its own. */
function asked(target, scene) {
  devices += 1;
  const chat = scene === "chat" ? { chat: large.id, messages } : {};
  return { server: server.url, user: USER, device: `${target}-${devices}`, conversations, quarters, ...chat };
}

let devices = 0;
const [server, browser, site] = await Promise.all([
  Server.start(["--open"], binary),
  launch(["--enable-blink-features=ForceEagerMeasureMemory", "--enable-precise-memory-info"]),
  serve(TARGETS),
]);
const begun = performance.now();
// The large one is the oldest: none of those that the SDK opens by itself.
await bring(server.url, USER, account({ conversations, messages, large: 1 }));
const all = await listed(server.url);
const large = all.find(({ title }) => title === "Conversation 1");
const quarters = [...new Set(all.map(({ id }) => quarterOf(id)))];
const figures = Object.fromEntries(TARGETS.map((target) => [target, { code: site.code[target], sidebar: [], chat: [] }]));
try {
  for (let round = 0; round < repeat; round += 1) {
    const order = round % 2 === 0 ? TARGETS : [...TARGETS].reverse();
    for (const scene of ["sidebar", "chat"]) {
      for (const target of order) figures[target][scene].push(await visits(target, scene));
    }
  }
  for (const target of TARGETS) figures[target].cpu = await streaming(target);
} finally {
  await browser.close();
  await server.remove();
  site.close();
}
const took = Math.round((performance.now() - begun) / 1_000);
const report = { conversations, messages, repeat, seconds, tokens, binary: binary.split("/").slice(-2).join("/"), took, figures };
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, undefined, 2)}\n`);
print(report);
