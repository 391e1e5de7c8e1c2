// @ts-check
/**
 * Measures the page with a large account: 5,000 conversations, one of them of 10,000 messages. Prints JSON; it is no test.
 *
 *     SYNCLINE_BIN=../../target/release/syncline node measure.mjs
 */

import { Server } from "../sdk/test/support/server.mjs";
import { account, bring } from "./account.mjs";
import { launch } from "./browser.mjs";

const CONVERSATIONS = Number(process.env["CONVERSATIONS"] ?? 5_000);
const MESSAGES = Number(process.env["MESSAGES"] ?? 10_000);
const SCROLL_MS = 4_000;

/** Scrolls steadily, and counts the pictures that were drawn. @param {string[]} where test id, and for how long */
function scroll([id, length]) {
  return new Promise((resolve) => {
    const scroller = /** @type {HTMLElement} */ (document.querySelector(`[data-testid=${id}]`));
    const start = performance.now();
    let pictures = 0;
    let longest = 0;
    let last = start;
    scroller.scrollTop = 0;
    const step = (/** @type {number} */ now) => {
      pictures += 1;
      longest = Math.max(longest, now - last);
      last = now;
      scroller.scrollTop += 40;
      if (now - start < Number(length)) requestAnimationFrame(step);
      else
        resolve({
          fps: Math.round((pictures * 10_000) / (now - start)) / 10,
          longestMs: Math.round(longest),
        });
    };
    requestAnimationFrame(step);
  });
}

const server = await Server.start();
const browser = await launch();
try {
  const size = { conversations: CONVERSATIONS, messages: MESSAGES, large: CONVERSATIONS };
  const brought = await bring(server.url, "large", account(size));
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  /** @type {Record<string, unknown>} */
  const figures = {
    conversations: CONVERSATIONS,
    messages: MESSAGES,
    ...brought,
  };
  for (const visit of ["cold", "warm"]) {
    const page = await context.newPage();
    const opened = performance.now();
    await page.goto(`${server.url}/#large`);
    await page.waitForSelector(`[data-testid=list-laptop][data-count="${CONVERSATIONS}"]`, {
      timeout: 120_000,
    });
    const listMs = Math.round(performance.now() - opened);
    const paintMs = await page.evaluate(() =>
      Math.round(performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Number.NaN),
    );
    const clicked = performance.now();
    await page.getByTestId("device-laptop").getByRole("searchbox").fill(`Conversation ${CONVERSATIONS}`);
    await page
      .getByTestId("list-laptop")
      .getByRole("button", { name: `Conversation ${CONVERSATIONS}` })
      .click();
    await page.getByTestId("device-laptop").getByRole("searchbox").fill("");
    await page.waitForSelector(`[data-testid=chat-laptop][data-turns="${MESSAGES}"]`, { timeout: 120_000 });
    const chatMs = Math.round(performance.now() - clicked);
    const heap = await page.evaluate(() => /** @type {any} */ (performance).memory?.usedJSHeapSize);
    figures[visit] = {
      firstPaintMs: paintMs,
      sidebarMs: listMs,
      chatMs,
      heapMiB: Math.round(heap / 2 ** 20),
      sidebar: await page.evaluate(scroll, ["list-laptop", String(SCROLL_MS)]),
      chat: await page.evaluate(scroll, ["messages-laptop", String(SCROLL_MS)]),
    };
    await page.close();
  }
  process.stdout.write(`${JSON.stringify(figures, undefined, 2)}\n`);
} finally {
  await browser.close();
  await server.remove();
}
