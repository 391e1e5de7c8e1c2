// @ts-check
/** A headless chromium, and the demo page as a person uses it: two devices with a switch, a status, a note. */
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

/** @typedef {"phone" | "laptop"} Kind */

export function launch() {
  return chromium.launch({ executablePath: findChromium(), headless: true, args: ARGS });
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

  /** Reloads as a person does: not within the milliseconds that a browser takes to store a keystroke. */
  async reload() {
    for (const kind of ["phone", "laptop"]) {
      await this.page.waitForSelector(`[data-testid=device-${kind}][data-stored=true]`, {
        timeout: PATIENCE_MS,
      });
    }
    await this.page.reload();
    await this.ready();
  }

  async ready() {
    for (const kind of ["phone", "laptop"]) {
      await this.page.waitForSelector(`[data-testid=device-${kind}][data-ready=true]`, {
        timeout: PATIENCE_MS,
      });
    }
  }

  /** @param {Kind} kind */
  note(kind) {
    return this.page.getByTestId(`note-${kind}`);
  }

  /** @param {Kind} kind */
  words(kind) {
    return this.page.getByTestId(`transcript-${kind}`).locator(".words");
  }

  /** @param {Kind} kind @param {string} text */
  async type(kind, text) {
    await this.note(kind).focus();
    await this.page.keyboard.press("Control+End");
    await this.page.keyboard.type(text);
  }

  /** @param {Kind} kind @param {string} text */
  async send(kind, text) {
    await this.page.getByTestId(`message-${kind}`).fill(text);
    await this.page.getByTestId(`send-${kind}`).click();
  }

  /** @param {Kind} kind @param {boolean} online */
  async setOnline(kind, online) {
    const toggle = this.page.getByTestId(`online-${kind}`);
    if ((await toggle.getAttribute("aria-checked")) !== String(online)) await toggle.click();
  }

  /** @param {Kind} kind */
  async status(kind) {
    const pill = this.page.getByTestId(`status-${kind}`);
    return {
      kind: await pill.getAttribute("data-status"),
      unsaved: Number(await pill.getAttribute("data-count")),
    };
  }

  /** @param {Kind} kind @param {string} status @param {number} [count] */
  async sees(kind, status, count) {
    const wanted = `[data-testid=status-${kind}][data-status=${status}]${count === undefined ? "" : `[data-count="${count}"]`}`;
    try {
      await this.page.waitForSelector(wanted, { timeout: PATIENCE_MS });
    } catch {
      assert.fail(`${kind} shows ${JSON.stringify(await this.status(kind))}, not ${status} ${count ?? ""}`);
    }
  }

  async bothSaved() {
    await this.sees("phone", "saved");
    await this.sees("laptop", "saved");
  }

  /** @param {Kind} kind @param {string} text */
  async noteBecomes(kind, text) {
    try {
      await this.page.waitForFunction(
        ([id, wanted]) => {
          const area = document.querySelector(`[data-testid=note-${id}]`);
          return area instanceof HTMLTextAreaElement && area.value === wanted;
        },
        /** @type {const} */ ([kind, text]),
        { timeout: PATIENCE_MS },
      );
    } catch {
      assert.equal(await this.note(kind).inputValue(), text, `the note on ${kind}`);
    }
  }

  /** @param {Kind} kind @param {string[]} texts */
  async transcriptBecomes(kind, texts) {
    try {
      await this.page.waitForFunction(
        ([id, wanted]) =>
          [...document.querySelectorAll(`[data-testid=transcript-${id}] .words`)]
            .map((e) => e.textContent)
            .join("\n") === wanted,
        /** @type {const} */ ([kind, texts.join("\n")]),
        { timeout: PATIENCE_MS },
      );
    } catch {
      assert.deepEqual(await this.words(kind).allTextContents(), texts, `the conversation on ${kind}`);
    }
  }
}

/** @param {string} text */
function isUnreachable(text) {
  return text.includes("net::ERR_CONNECTION_REFUSED") || text.includes("net::ERR_CONNECTION_RESET");
}
