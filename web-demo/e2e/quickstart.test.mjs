// @ts-check
/** The quick start as its page tells it: its commands are run, its files are served, two tabs and a second browser sync. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Server } from "../sdk/test/support/server.mjs";
import { launch } from "./browser.mjs";

const run = promisify(execFile);
const HOUSE = fileURLToPath(new URL("../../", import.meta.url));
const FILES = fileURLToPath(new URL("./quickstart/", import.meta.url));
const PATIENCE_MS = 15_000;
const INSTALL_MS = 120_000;
const START_MS = 30_000;

const page = readFileSync(join(HOUSE, "docs/quick-start.md"), "utf8");
/** The blocks of one language, in order. @param {string} language */
const blocks = (language) =>
  [...page.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "gms"))].map(([, text]) => text ?? "");

/** @type {Server} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;
/** A folder beside a checkout, as the page has it. */
const home = mkdtempSync(join(tmpdir(), "syncline-quickstart-"));
/** @type {import("node:child_process").ChildProcess | undefined} */
let vite;

before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
});
after(async () => {
  await browser?.close();
  if (vite !== undefined && vite.exitCode === null) {
    const ended = once(vite, "exit");
    vite.kill();
    await ended;
  }
  await server?.remove();
  rmSync(home, { recursive: true, force: true });
});

test("the page shows exactly the files, and the program has at most 30 lines", () => {
  const program = readFileSync(join(FILES, "main.js"), "utf8");
  assert.deepEqual(blocks("js"), [program]);
  assert.deepEqual(blocks("html"), [readFileSync(join(FILES, "index.html"), "utf8")]);
  assert.ok(program.trimEnd().split("\n").length <= 30, "at most 30 lines");
});

test("from npm install to two synced tabs, and a browser that was offline", async () => {
  const url = await serve();
  const profile = await browser.newContext();
  const first = await open(profile, url);
  await first.waitForURL(/#[0-9a-f-]{36}$/);
  const second = await open(profile, first.url());
  await say(first, "from the first tab");
  await shows(second, ["from the first tab (everywhere)"]);
  await status(first, "saved");

  const elsewhere = await open(await browser.newContext(), first.url());
  await shows(elsewhere, ["from the first tab (everywhere)"]);
  await server.kill();
  await status(second, "offline");
  await say(second, "while the server was down");
  await status(second, "offline, 1 not saved yet");
  await shows(first, ["from the first tab (everywhere)", "while the server was down (pending)"]);
  await second.reload();
  await status(second, "offline, 1 not saved yet");
  await server.start();
  await shows(elsewhere, ["from the first tab (everywhere)", "while the server was down (everywhere)"]);
  for (const tab of [first, second, elsewhere]) await status(tab, "saved");
});

/** Does what the page says, and returns the address of its page. @returns {Promise<string>} */
async function serve() {
  const [start, install, show] = blocks("sh");
  assert.match(start ?? "", /^syncline serve --open$/m);
  assert.equal(show, "npx vite\n");
  const environment = {
    ...process.env,
    SYNCLINE: HOUSE,
    npm_config_audit: "false",
    npm_config_fund: "false",
  };
  await run("sh", ["-ec", install ?? "false"], { cwd: home, env: environment, timeout: INSTALL_MS });
  const folder = join(home, "chat");
  for (const file of ["index.html", "main.js"]) cpSync(join(FILES, file), join(folder, file));

  const flags = ["node_modules/vite/bin/vite.js", "--port", "0"];
  const child = spawn(process.execPath, flags, {
    cwd: folder,
    env: { ...environment, VITE_SYNCLINE: server.url, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  vite = child;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("vite did not say where it is")), START_MS);
    child.once("exit", (code) => reject(new Error(`vite ended with ${code}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const address = /Local:\s+(http:\S+)/.exec(line)?.[1];
      if (address === undefined) return;
      clearTimeout(timer);
      resolve(address);
    });
  });
}

/** @param {import("playwright-core").BrowserContext} profile @param {string} url */
async function open(profile, url) {
  const tab = await profile.newPage();
  await tab.goto(url);
  return tab;
}

/** @param {import("playwright-core").Page} tab @param {string} text */
async function say(tab, text) {
  await tab.getByLabel("Message").fill(text);
  await tab.getByRole("button", { name: "Send" }).click();
}

/** @param {import("playwright-core").Page} tab @param {string[]} lines */
async function shows(tab, lines) {
  await tab.waitForFunction(
    (lines) => {
      const shown = [...document.querySelectorAll("li")].map((line) => line.textContent);
      return JSON.stringify(shown) === JSON.stringify(lines);
    },
    lines,
    { timeout: PATIENCE_MS },
  );
}

/** @param {import("playwright-core").Page} tab @param {string} text */
async function status(tab, text) {
  await tab.waitForFunction((text) => document.querySelector("output")?.textContent === text, text, {
    timeout: PATIENCE_MS,
  });
}
