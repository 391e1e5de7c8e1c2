// @ts-check
/** The demo page against the real server in a real browser: one document per case, nothing mocked. */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, beforeEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Demo, launch } from "./browser.mjs";
import { Server } from "./server.mjs";
import { Wire } from "./wire.mjs";

const SCREENSHOTS = fileURLToPath(new URL("./screenshots/", import.meta.url));

/** @type {Server} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;
let cases = 0;

before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
});

after(async () => {
  await browser?.close();
  await server?.remove();
});

beforeEach(() => {
  cases += 1;
});

function address() {
  return `${server.origin}/#demo/case-${cases}`;
}

/**
 * Opens the page in a profile of its own, and fails if the page complains.
 * @param {(demo: Demo, context: import("playwright-core").BrowserContext) => Promise<void>} run
 * @param {import("playwright-core").BrowserContextOptions} [options]
 * @param {(context: import("playwright-core").BrowserContext) => Promise<void>} [prepare]
 */
async function onPage(run, options = {}, prepare) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  try {
    await prepare?.(context);
    const demo = await Demo.open(context, address());
    await run(demo, context);
    assert.deepEqual(demo.complaints, [], "the console stays clean");
  } finally {
    await context.close();
  }
}

/**
 * The same, with a hand on what the server sends.
 * @param {(demo: Demo, wire: Wire) => Promise<void>} run
 */
async function onWire(run) {
  const wire = new Wire();
  await onPage(
    (demo) => run(demo, wire),
    {},
    (context) => wire.watch(context),
  );
}

describe("two devices on one page", () => {
  test("an edit on one side shows on the other, and both reach saved", () =>
    onPage(async (demo) => {
      await demo.bothSaved();
      await demo.type("phone", "Buy oat milk");
      await demo.send("laptop", "Anything else?");
      await demo.noteBecomes("laptop", "Buy oat milk");
      await demo.transcriptBecomes("phone", ["Anything else?"]);
      await demo.bothSaved();
    }));

  test("both edit offline, rejoin, and show the same text and saved", () =>
    onPage(async (demo) => {
      await demo.type("phone", "Plan: ");
      await demo.noteBecomes("laptop", "Plan: ");
      await demo.bothSaved();
      await demo.setOnline("phone", false);
      await demo.setOnline("laptop", false);
      await demo.type("phone", "[from the phone 🙂]");
      await demo.send("phone", "phone says");
      await demo.type("laptop", "[from the laptop]");
      await demo.send("laptop", "laptop says");
      await demo.sees("phone", "offline");
      assert.equal(await demo.note("phone").inputValue(), "Plan: [from the phone 🙂]");
      assert.equal(await demo.note("laptop").inputValue(), "Plan: [from the laptop]");
      assert.ok((await demo.status("phone")).unsaved > 0);
      assert.ok((await demo.status("laptop")).unsaved > 0);

      await demo.setOnline("phone", true);
      await demo.setOnline("laptop", true);
      await demo.transcriptBecomes("phone", ["phone says", "laptop says"]);
      await demo.transcriptBecomes("laptop", ["phone says", "laptop says"]);
      await demo.bothSaved();
      const text = await demo.note("phone").inputValue();
      assert.equal(await demo.note("laptop").inputValue(), text);
      assert.ok(text.includes("[from the phone 🙂]") && text.includes("[from the laptop]"), text);
    }));

  test("a reload offline keeps the edits and shows how many are not saved", () =>
    onPage(async (demo) => {
      await demo.type("phone", "kept");
      await demo.bothSaved();
      await demo.setOnline("phone", false);
      await demo.sees("phone", "offline", 0);
      await demo.type("phone", "!!");
      await demo.send("phone", "written underground");
      await demo.sees("phone", "offline", 3);

      await demo.reload();
      await demo.sees("phone", "offline", 3);
      assert.equal(await demo.note("phone").inputValue(), "kept!!");
      await demo.transcriptBecomes("phone", ["written underground"]);
      await demo.noteBecomes("laptop", "kept");

      await demo.type("phone", "?");
      await demo.reload();
      await demo.sees("phone", "offline", 4);

      await demo.setOnline("phone", true);
      await demo.sees("phone", "saved", 0);
      await demo.noteBecomes("laptop", "kept!!?");
      await demo.reload();
      await demo.setOnline("phone", false);
      await demo.sees("phone", "offline", 0);
    }));

  test("a deletion made offline counts as not saved, and arrives", () =>
    onPage(async (demo) => {
      await demo.type("laptop", "abc");
      await demo.noteBecomes("phone", "abc");
      await demo.bothSaved();
      await demo.setOnline("laptop", false);
      await demo.note("laptop").focus();
      await demo.page.keyboard.press("Control+End");
      await demo.page.keyboard.press("Backspace");
      await demo.reload();
      assert.equal(await demo.note("laptop").inputValue(), "ab");
      await demo.sees("laptop", "offline", 1);
      await demo.setOnline("laptop", true);
      await demo.noteBecomes("phone", "ab");
      await demo.bothSaved();
    }));

  test("the other device's absence and what it misses are shown", () =>
    onPage(async (demo) => {
      await demo.bothSaved();
      const peer = demo.page.getByTestId("peers-laptop").getByTestId("peer");
      await peer.filter({ hasText: "Phone is online" }).waitFor();
      await demo.setOnline("phone", false);
      await peer.filter({ hasText: "Phone is offline" }).waitFor();
      await demo.type("laptop", "abc");
      await peer.filter({ hasText: "Phone is offline, 3 changes behind" }).waitFor();
      await demo.setOnline("phone", true);
      await peer.filter({ hasText: /^Phone is online$/ }).waitFor();
      await demo.page.getByTestId("detail-laptop").filter({ hasText: "on all your devices" }).waitFor();
    }));

  test("the caret stays in its words while the other side types above", () =>
    onPage(async (demo) => {
      await demo.type("laptop", "one three");
      await demo.noteBecomes("phone", "one three");
      await demo.note("laptop").evaluate((/** @type {HTMLTextAreaElement} */ area) => {
        area.focus();
        area.setSelectionRange(4, 4);
      });
      await demo.page.evaluate(() => {
        const phone = /** @type {HTMLTextAreaElement} */ (document.querySelector("[data-testid=note-phone]"));
        phone.value = `zero ${phone.value}`;
        phone.setSelectionRange(5, 5);
        phone.dispatchEvent(new InputEvent("input"));
      });
      await demo.noteBecomes("laptop", "zero one three");
      await demo.page.keyboard.type("two ");
      await demo.noteBecomes("phone", "zero one two three");
      await demo.bothSaved();
    }));
});

describe("what the server says on the wire", () => {
  test("an edit is not called saved before the server acknowledges it, though others see it", () =>
    onWire(async (demo, wire) => {
      await demo.bothSaved();
      wire.hold();
      await demo.type("phone", "ab");
      await demo.noteBecomes("laptop", "ab");
      await demo.sees("phone", "saving", 2);
      await demo.setOnline("phone", false);
      await demo.sees("phone", "offline", 2);
      wire.hold();
      await demo.setOnline("phone", true);
      await wire.held(1);
      await demo.sees("phone", "saving", 2);
      wire.release();
      await demo.bothSaved();
    }));

  test("edits made while cut off are acknowledged once, so a later one is not called saved early", () =>
    onWire(async (demo, wire) => {
      await demo.bothSaved();
      await demo.setOnline("phone", false);
      await demo.type("phone", "abc");
      wire.hold();
      await demo.setOnline("phone", true);
      await wire.held(1);
      await demo.type("phone", "d");
      await wire.held(2);
      await demo.noteBecomes("laptop", "abcd");
      assert.deepEqual(wire.offered, ["SyncStep2", "Update"]);
      wire.release(1);
      await demo.sees("phone", "saving", 1);
      wire.release();
      await demo.bothSaved();
    }));

  test("a denial is shown with its reason, and the edits stay on the device and counted", () =>
    onWire(async (demo, wire) => {
      await demo.bothSaved();
      await demo.setOnline("phone", false);
      await demo.type("phone", "mine");
      wire.deny("this account is closed");
      await demo.setOnline("phone", true);
      await demo.sees("phone", "refused", 4);
      await demo.page.getByTestId("detail-phone").filter({ hasText: "this account is closed" }).waitFor();
      assert.equal(await demo.note("phone").inputValue(), "mine");
    }));
});

describe("a server that dies", () => {
  test("what was shown as saved is there after SIGKILL, in a fresh profile too", () =>
    onPage(async (demo) => {
      await demo.type("phone", "on disk");
      await demo.send("laptop", "me too");
      await demo.noteBecomes("laptop", "on disk");
      await demo.bothSaved();
      await server.kill();
      await demo.sees("phone", "offline", 0);
      await demo.type("phone", ", and this later");
      await demo.sees("phone", "offline", 16);
      await server.start();
      await onPage(async (fresh) => {
        await fresh.transcriptBecomes("phone", ["me too"]);
        assert.ok((await fresh.note("phone").inputValue()).startsWith("on disk"));
      });
      await demo.bothSaved();
      await onPage((fresh) => fresh.noteBecomes("laptop", "on disk, and this later"));
    }));

  test("edits that no server confirmed stay counted across a reload", () =>
    onPage(async (demo) => {
      await demo.bothSaved();
      await server.kill();
      await demo.type("laptop", "xyz");
      await demo.sees("laptop", "offline", 3);
      await demo.setOnline("laptop", false);
      await server.start();
      await demo.reload();
      await demo.sees("laptop", "offline", 3);
      await demo.setOnline("laptop", true);
      await demo.noteBecomes("phone", "xyz");
      await demo.bothSaved();
    }));
});

test("the page is legible in light, dark and phone width", async () => {
  await mkdir(SCREENSHOTS, { recursive: true });
  for (const [name, options] of /** @type {const} */ ([
    ["light", { colorScheme: "light" }],
    ["dark", { colorScheme: "dark" }],
    [
      "narrow",
      {
        colorScheme: "light",
        viewport: { width: 390, height: 844 },
        deviceScaleFactor: 2,
        isMobile: true,
        hasTouch: true,
      },
    ],
  ])) {
    await onPage(async (demo) => {
      if (name === "light") await converse(demo);
      await demo.bothSaved();
      await demo.page.screenshot({ path: `${SCREENSHOTS}${name}.png`, fullPage: name === "narrow" });
      const overflow = await demo.page.evaluate(
        () => document.documentElement.scrollWidth - window.innerWidth,
      );
      assert.ok(overflow <= 0, `${name}: nothing sticks out sideways`);
      for (const kind of ["phone", "laptop"]) await fits(demo, kind);
      await demo.setOnline("phone", false);
      await demo.type("phone", ".");
      await demo.type("laptop", "!");
      await demo.sees("phone", "offline");
      await demo.sees("laptop", "saved");
      for (const kind of ["phone", "laptop"]) await fits(demo, kind);
      await demo.page.screenshot({ path: `${SCREENSHOTS}${name}-offline.png`, fullPage: name === "narrow" });
      await demo.setOnline("phone", true);
      await demo.bothSaved();
    }, options);
  }
});

/**
 * The switch is the last thing in its row: where it is inside its device, so is the rest.
 * @param {Demo} demo
 * @param {string} kind
 */
async function fits(demo, kind) {
  const device = await demo.page.getByTestId(`device-${kind}`).boundingBox();
  for (const part of ["online", "status", "note", "send"]) {
    const box = await demo.page.getByTestId(`${part}-${kind}`).boundingBox();
    assert.ok(
      device && box && box.x >= device.x && box.x + box.width <= device.x + device.width,
      `${part} fits`,
    );
  }
}

/** @param {Demo} demo */
async function converse(demo) {
  await demo.send("phone", "Where were we with the Lisbon trip?");
  await demo.transcriptBecomes("laptop", ["Where were we with the Lisbon trip?"]);
  await demo.send("laptop", "Flights are booked. We still need a place to stay from the 14th to the 18th.");
  await demo.send("laptop", "Two candidates are in the note below.");
  await demo.transcriptBecomes("phone", [
    "Where were we with the Lisbon trip?",
    "Flights are booked. We still need a place to stay from the 14th to the 18th.",
    "Two candidates are in the note below.",
  ]);
  await demo.send("phone", "The one in Graça, then. I will write from the plane.");
  await demo.type("laptop", "Stay\n- Graça, small balcony, 112 a night\n- Alfama, no lift, 98 a night\n");
}
