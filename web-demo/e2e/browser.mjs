// @ts-check
/** A headless chromium, and the demo page as a person uses it: three devices, their networks, lists and conversations. */
import assert from "node:assert/strict";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const PATIENCE_MS = 15_000;
const ASK_MS = 50;

/** @typedef {"phone" | "laptop" | "tab"} Kind */
/** @typedef {"online" | "slow" | "flaky" | "offline"} Mode */

/** @type {readonly Kind[]} */
export const KINDS = ["phone", "laptop", "tab"];

/** @param {string[]} args more of chromium's switches */
export function launch(args = []) {
  return chromium.launch({ executablePath: findChromium(), headless: true, args: [...ARGS, ...args] });
}

function findChromium() {
  const named = process.env["CHROMIUM"];
  if (named !== undefined && named !== "") return named;
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
      const file = join(folder, name);
      try {
        accessSync(file, constants.X_OK);
        return file;
      } catch {}
    }
  }
  throw new Error(
    "no chromium in PATH: install it (Debian: apt-get install chromium) or name one in CHROMIUM",
  );
}

export class Demo {
  /** What the page complained about, other than a server that was not there. @type {string[]} */
  complaints = [];

  /** @param {import("playwright-core").Page} page */
  constructor(page) {
    this.page = page;
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type()) && !isUnreachable(message.text())) {
        this.complaints.push(message.text());
      }
    });
    page.on("pageerror", (error) => this.complaints.push(String(error)));
  }

  /**
   * @param {import("playwright-core").BrowserContext} context
   * @param {string} url
   */
  static async open(context, url) {
    const demo = new Demo(await context.newPage());
    await demo.page.goto(url);
    await demo.ready();
    return demo;
  }

  /** Reloads as a person does: not within the milliseconds that a browser takes to store a turn. */
  async reload() {
    for (const kind of KINDS)
      await this.page.waitForSelector(`[data-testid=device-${kind}][data-stored=true]`, {
        timeout: PATIENCE_MS,
      });
    await this.page.reload();
    await this.ready();
  }

  /** Waits until the browser keeps the page itself, so that it comes up without the server. */
  async isKept() {
    await this.page.evaluate(async () => {
      await navigator.serviceWorker.ready;
    });
  }

  async ready() {
    for (const kind of KINDS) await this.device(kind).waitFor({ state: "attached", timeout: PATIENCE_MS });
  }

  /** @param {Kind} kind */
  device(kind) {
    return this.page.getByTestId(`device-${kind}`);
  }

  /** @param {string} id */
  at(id) {
    return this.page.getByTestId(id);
  }

  /** @param {Kind} kind @param {Mode} mode */
  async network(kind, mode) {
    await this.at(`${mode}-${kind}`).check({ force: true });
  }

  /** Begins a conversation on one device, and opens it on others. @param {Kind} kind @param {Kind[]} others */
  async converse(kind, ...others) {
    await this.at(`new-chat-${kind}`).click();
    await this.at(`composer-${kind}`).waitFor();
    for (const other of others) await this.openNewest(other);
  }

  /** @param {Kind} kind */
  async openNewest(kind) {
    await this.at(`list-${kind}`).getByRole("button").first().click();
    await this.at(`composer-${kind}`).waitFor();
  }

  /** @param {Kind} kind @param {string} text */
  async send(kind, text) {
    await this.at(`composer-${kind}`).fill(text);
    await this.at(`composer-${kind}`).press("Enter");
    await this.turn(kind, text).waitFor();
  }

  /** Waits until a composer holds a text. @param {Kind} kind @param {string} text */
  async holds(kind, text) {
    await this.page.waitForFunction(
      ([id, text]) =>
        /** @type {HTMLTextAreaElement | null} */ (document.querySelector(`[data-testid=${id}]`))?.value ===
        text,
      /** @type {const} */ ([`composer-${kind}`, text]),
      { timeout: PATIENCE_MS },
    );
  }

  /** The turn with this text. @param {Kind} kind @param {string | RegExp} text */
  turn(kind, text) {
    return this.device(kind)
      .getByTestId("turn")
      .filter({ has: this.page.locator(".words", { hasText: text }) });
  }

  /** @param {Kind} kind @param {string} title */
  async rename(kind, title) {
    await this.at(`title-${kind}`).click();
    await this.at(`title-input-${kind}`).fill(title);
    await this.at(`title-input-${kind}`).press("Enter");
    await this.titled(kind, title);
  }

  /** @param {Kind} kind @param {string} title */
  async titled(kind, title) {
    await this.at(`title-${kind}`).filter({ hasText: title }).waitFor({ timeout: PATIENCE_MS });
  }

  /** Waits for a status; with `unsaved`, for one that counts edits which are not saved, or for one that counts none.
   * @param {Kind} kind @param {string} status @param {boolean} [unsaved] */
  async sees(kind, status, unsaved) {
    const count = unsaved === undefined ? "" : unsaved ? ":not([data-unsaved='0'])" : "[data-unsaved='0']";
    const wanted = `[data-testid=status-${kind}][data-status=${status}]${count}`;
    try {
      await this.page.waitForSelector(wanted, { timeout: PATIENCE_MS });
    } catch {
      const { status: shown, unsaved: kept } = await this.at(`status-${kind}`).evaluate((pill) => ({
        ...pill.dataset,
      }));
      assert.fail(`${kind} shows ${shown} with ${kept} unsaved, not ${wanted}`);
    }
  }

  /** @param {Kind[]} kinds */
  async saved(...kinds) {
    for (const kind of kinds.length === 0 ? KINDS : kinds) await this.sees(kind, "saved");
  }

  /** What people said, as a device shows it. @param {Kind} kind @returns {Promise<string[]>} */
  said(kind) {
    return this.device(kind).locator("[data-role=user] .words").allTextContents();
  }

  /** @param {Kind} kind @param {string[]} texts in any order */
  async saysAll(kind, texts) {
    for (const text of texts) await this.turn(kind, text).waitFor({ timeout: PATIENCE_MS });
    assert.deepEqual((await this.said(kind)).sort(), [...texts].sort(), `what was said, on ${kind}`);
  }

  /** Waits until what a device shows is what the HTTP API says, turn by turn; returns the texts. @param {Kind} kind */
  async agrees(kind) {
    return until(
      this.page,
      async (kind) => {
        const chat = /** @type {HTMLElement} */ (document.querySelector(`[data-testid=chat-${kind}]`));
        const turns = [
          .../** @type {NodeListOf<HTMLElement>} */ (chat.querySelectorAll("[data-testid=turn]")),
        ];
        const person = location.hash.slice(1);
        const path = `/v1/users/${person}/conversations/${chat.dataset["conversation"]}/messages?limit=200`;
        const answer = await fetch(path);
        if (!answer.ok) return undefined;
        const { items } = await answer.json();
        const shown = turns.map((turn) => [turn.dataset["id"], turn.querySelector(".words")?.textContent]);
        const told = items.map((/** @type {any} */ item) => [item.id, item.parts[0]?.text]);
        return JSON.stringify(shown) === JSON.stringify(told) ? shown.map(([, text]) => text) : undefined;
      },
      kind,
      `${kind} shows what the API says`,
    );
  }
}

/**
 * Asks the page again and again until it has an answer. `waitForFunction` would take the promise of one for it.
 * @template A, T
 * @param {import("playwright-core").Page} page
 * @param {(about: A) => Promise<T | undefined>} ask
 * @param {A} about
 * @param {string} what
 * @returns {Promise<T>}
 */
export async function until(page, ask, about, what) {
  const begun = performance.now();
  while (performance.now() - begun < PATIENCE_MS) {
    const answer = await page.evaluate(/** @type {any} */ (ask), about);
    if (answer !== undefined) return answer;
    await new Promise((resolve) => setTimeout(resolve, ASK_MS));
  }
  throw new Error(`waited in vain until ${what}`);
}

/** @param {string} text */
function isUnreachable(text) {
  return (
    text.includes("net::ERR_CONNECTION_REFUSED") ||
    text.includes("net::ERR_CONNECTION_RESET") ||
    // A network that a test cuts.
    text.includes("WebSocket is closed before the connection is established") ||
    // What another device has not brought to the server yet.
    text.includes("status of 404")
  );
}
