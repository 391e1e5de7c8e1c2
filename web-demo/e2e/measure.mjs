// @ts-check
/**
 * Measures the page with a large account: 5,000 conversations, one of them of 10,000 messages. Prints JSON; it is no test.
 *
 *     SYNCLINE_BIN=../../target/release/syncline node measure.mjs
 */
import { launch } from "./browser.mjs";
import { Server } from "./server.mjs";

const CONVERSATIONS = Number(process.env["CONVERSATIONS"] ?? 5_000);
const MESSAGES = Number(process.env["MESSAGES"] ?? 10_000);
const SCROLL_MS = 4_000;
const WORDS = "a turn about trains and tunnels that is long enough to fill a line or two of a chat".split(
  " ",
);

/** @param {number} at @param {number} turns */
function conversation(at, turns) {
  const id = (/** @type {number} */ turn) =>
    `00000000-0000-4000-8000-${String(at * 100_000 + turn).padStart(12, "0")}`;
  /** @type {Record<string, unknown>} */
  const mapping = {};
  for (let turn = 0; turn < turns; turn += 1) {
    const text = `${turn + 1}: ${WORDS.slice(0, 3 + ((turn * 7) % 14)).join(" ")}`;
    mapping[id(turn)] = {
      id: id(turn),
      parent: turn === 0 ? null : id(turn - 1),
      children: turn + 1 < turns ? [id(turn + 1)] : [],
      message: {
        id: id(turn),
        author: { role: turn % 2 === 0 ? "user" : "assistant" },
        create_time: 1_790_000_000 + at * 10 + turn,
        content: { content_type: "text", parts: [text] },
      },
    };
  }
  return {
    title: `Conversation ${at}`,
    conversation_id: `00000000-0000-4000-8000-${String(at).padStart(12, "0")}`,
    create_time: 1_790_000_000 + at * 10,
    update_time: 1_790_000_000 + at * 10 + turns,
    current_node: id(turns - 1),
    mapping,
  };
}

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
  const account = [];
  for (let at = 1; at < CONVERSATIONS; at += 1) account.push(conversation(at, 2));
  account.push(conversation(CONVERSATIONS, MESSAGES));
  const begun = performance.now();
  const answer = await fetch(`${server.origin}/v1/users/large/import`, {
    method: "POST",
    body: JSON.stringify(account),
  });
  const lines = (await answer.text()).trim().split("\n");
  const importMs = Math.round(performance.now() - begun);
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  /** @type {Record<string, unknown>} */
  const figures = {
    conversations: CONVERSATIONS,
    messages: MESSAGES,
    importMs,
    totals: JSON.parse(lines.at(-1) ?? "{}"),
  };
  for (const visit of ["cold", "warm"]) {
    const page = await context.newPage();
    const opened = performance.now();
    await page.goto(`${server.origin}/#large`);
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
