// @ts-check
/** The demo page against the real server in a real browser: one person per case, nothing mocked. */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, beforeEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Server } from "../sdk/test/support/server.mjs";
import { Demo, KINDS, launch } from "./browser.mjs";
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

beforeEach(async () => {
  cases += 1;
  // A case that failed may have left it dead.
  if (!server.isRunning) await server.start();
});

function address() {
  return `${server.url}/#case-${cases}`;
}

/**
 * Opens the page in a profile of its own, and fails if the page complains.
 * @param {(demo: Demo, context: import("playwright-core").BrowserContext) => Promise<void>} run
 * @param {import("playwright-core").BrowserContextOptions} [options]
 * @param {(context: import("playwright-core").BrowserContext) => Promise<void>} [prepare]
 */
async function onPage(run, options = {}, prepare) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
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

describe("two devices that were offline", () => {
  test("both send: both turns are kept, in one order everywhere, and the API says the same", () =>
    onPage(async (demo) => {
      await demo.converse("laptop");
      await demo.send("laptop", "first");
      await demo.saved();
      await demo.openNewest("phone");
      await demo.network("phone", "offline");
      await demo.network("laptop", "offline");
      await demo.send("phone", "from the train");
      await demo.send("laptop", "from the desk");
      await demo.sees("phone", "offline", true);
      await demo.sees("laptop", "offline", true);
      await demo.network("phone", "online");
      await demo.network("laptop", "online");
      await demo.saysAll("phone", ["first", "from the train", "from the desk"]);
      await demo.saysAll("laptop", ["first", "from the train", "from the desk"]);
      await demo.saved();
      // Their answers, one each, have come too: six turns, the same for both.
      await demo.page.locator("[data-testid=chat-phone][data-turns='6']").waitFor();
      assert.deepEqual(await demo.agrees("phone"), await demo.agrees("laptop"));
    }));

  test("both rename: the later name wins, the other is one click away, and that is undone with one more", () =>
    onPage(async (demo) => {
      await demo.converse("laptop");
      await demo.saved();
      await demo.openNewest("phone");
      await demo.network("phone", "offline");
      await demo.rename("phone", "Rome");
      await demo.network("laptop", "offline");
      await demo.rename("laptop", "Paris");
      await demo.network("phone", "online");
      await demo.network("laptop", "online");
      await demo.titled("phone", "Paris");
      const hint = demo.at("conflict-laptop");
      await hint.filter({ hasText: "Also named “Rome” on Phone" }).waitFor();
      await hint.getByRole("button", { name: "Use that" }).click();
      await demo.titled("phone", "Rome");
      await hint.getByRole("button", { name: "Undo" }).click();
      await demo.titled("phone", "Paris");
      await demo.titled("laptop", "Paris");
      await demo.saved();
    }));

  test("one deletes, the other writes: it is kept, says so, and can be restored", () =>
    onPage(async (demo) => {
      await demo.converse("laptop");
      await demo.send("laptop", "keep me");
      await demo.turn("laptop", /.+/).nth(1).waitFor();
      await demo.saved();
      await demo.openNewest("phone");
      await demo.saysAll("phone", ["keep me"]);
      await demo.network("phone", "offline");
      await demo.network("laptop", "offline");
      await demo.at("delete-phone").click();
      await demo.send("laptop", "and me");
      await demo.network("phone", "online");
      await demo.network("laptop", "online");
      await demo.at("deleted-laptop").filter({ hasText: "somebody wrote in it since" }).waitFor();
      await demo.at("back-phone").click();
      await demo.at("shelf-phone").selectOption("deleted");
      await demo.at("list-phone").filter({ hasText: "New activity since it was deleted" }).waitFor();
      await demo.openNewest("phone");
      await demo.saysAll("phone", ["keep me", "and me"]);
      await demo.at("restore-phone").click();
      await demo.at("delete-laptop").waitFor();
      await demo.saved();
      await demo.agrees("laptop");
    }));

  test("both ask for another answer: three alternatives, and whoever chooses chooses for all", () =>
    onPage(async (demo) => {
      await demo.converse("laptop");
      await demo.send("laptop", "what is saved?");
      await demo.device("laptop").locator("[data-role=assistant]").waitFor();
      await demo.saved();
      await demo.openNewest("phone");
      await demo.device("phone").locator("[data-role=assistant]").waitFor();
      await demo.network("phone", "offline");
      await demo.network("laptop", "offline");
      await demo.device("phone").getByTestId("again").click();
      await demo.device("laptop").getByTestId("again").click();
      await demo.network("phone", "online");
      await demo.network("laptop", "online");
      for (const kind of /** @type {const} */ (["phone", "laptop"]))
        await demo.device(kind).getByTestId("alternatives").filter({ hasText: "of 3" }).waitFor();
      const alternatives = demo.device("laptop").getByTestId("alternatives");
      while (!(await alternatives.textContent())?.startsWith("1")) {
        const before = await alternatives.textContent();
        await alternatives.getByRole("button", { name: "The one before" }).click();
        await alternatives.filter({ hasNotText: before ?? "" }).waitFor();
      }
      await demo.device("phone").getByTestId("alternatives").filter({ hasText: "1 of 3" }).waitFor();
      await demo.saved();
      assert.deepEqual(await demo.agrees("phone"), await demo.agrees("laptop"));
    }));
});

describe("a page that reloads and a server that dies", () => {
  test("a reload offline keeps what was written, and says that it is not saved", () =>
    onPage(async (demo) => {
      await demo.converse("phone");
      await demo.saved();
      await demo.network("phone", "offline");
      await demo.send("phone", "not yet");
      await demo.sees("phone", "offline", true);
      await demo.reload();
      await demo.sees("phone", "offline", true);
      await demo.saysAll("phone", ["not yet"]);
      assert.equal(await demo.turn("phone", "not yet").getAttribute("data-delivery"), "pending");
      await demo.network("phone", "online");
      await demo.saved();
      await demo.page.locator("[data-testid=chat-phone][data-turns='2']").waitFor();
      await demo.agrees("phone");
    }));

  test("what was shown as saved is there after SIGKILL, in a second profile too, and what was not comes later", () =>
    onPage(async (demo) => {
      await demo.converse("laptop", "phone");
      await demo.send("laptop", "on disk");
      await demo.turn("laptop", /.+/).nth(1).waitFor();
      await demo.saved();
      await server.kill();
      await demo.sees("phone", "offline");
      await demo.send("phone", "while it was gone");
      await demo.sees("phone", "offline", true);
      await demo.network("phone", "offline");
      await server.start();
      await demo.reload();
      await demo.sees("phone", "offline", true);
      await onPage(async (fresh) => {
        await fresh.openNewest("laptop");
        await fresh.turn("laptop", "on disk").waitFor();
        assert.deepEqual(await fresh.said("laptop"), ["on disk"]);
      });
      await demo.network("phone", "online");
      await demo.saved();
      await demo.saysAll("laptop", ["on disk", "while it was gone"]);
      await onPage(async (fresh) => {
        await fresh.openNewest("tab");
        await fresh.saysAll("tab", ["on disk", "while it was gone"]);
        assert.deepEqual(await fresh.agrees("tab"), await demo.agrees("laptop"));
      });
    }));
});

describe("a page whose server is not there", () => {
  test("a reload brings it up with all that is on the device, and what is written is saved once there is a server", () =>
    onPage(async (demo) => {
      await demo.converse("laptop", "phone");
      await demo.rename("laptop", "Kept here");
      await demo.send("laptop", "on disk");
      await demo.turn("phone", /.+/).nth(1).waitFor();
      await demo.saved();
      await demo.isKept();
      await server.kill();
      for (const kind of KINDS) await demo.sees(kind, "offline", false);
      await demo.reload();
      for (const kind of /** @type {const} */ (["laptop", "phone"])) await demo.titled(kind, "Kept here");
      await demo.at("list-tab").filter({ hasText: "Kept here" }).waitFor();
      await demo.saysAll("laptop", ["on disk"]);
      await demo.send("laptop", "while it was gone");
      await demo.sees("laptop", "offline", true);
      await server.start();
      await demo.saved();
      await demo.saysAll("phone", ["on disk", "while it was gone"]);
      await demo.page.locator("[data-testid=chat-phone][data-turns='4']").waitFor();
      await demo.page.locator("[data-testid=chat-laptop][data-turns='4']").waitFor();
      assert.deepEqual(await demo.agrees("phone"), await demo.agrees("laptop"));
    }));
});

describe("what the server says on the wire", () => {
  test("a turn is not called saved before the server acknowledges it, though others see it", () =>
    onWire(async (demo, wire) => {
      await demo.converse("phone");
      await demo.saved();
      await demo.openNewest("laptop");
      await demo.saved();
      wire.hold();
      await demo.send("phone", "seen, not saved");
      await demo.turn("laptop", "seen, not saved").waitFor();
      await wire.held(1);
      await demo.sees("phone", "saving", true);
      await demo.network("phone", "offline");
      await demo.sees("phone", "offline", true);
      wire.release();
      await demo.sees("phone", "offline", true);
      await demo.network("phone", "online");
      await demo.saved();
    }));

  test("a denial is shown with its reason, and what was written stays on the device and counted", () =>
    onWire(async (demo, wire) => {
      await demo.converse("phone");
      await demo.saved();
      await demo.network("phone", "offline");
      await demo.send("phone", "mine");
      wire.deny("this account is closed");
      await demo.network("phone", "online");
      await demo.sees("phone", "refused", true);
      await demo.device("phone").getByText("this account is closed").first().waitFor();
      await demo.saysAll("phone", ["mine"]);
    }));
});

describe("what belongs to the person", () => {
  test("a draft begun on one device is gone on with on another, and sent once", () =>
    onPage(async (demo) => {
      await demo.converse("laptop");
      await demo.saved();
      await demo.openNewest("phone");
      await demo.at("composer-phone").fill("Where sh");
      await demo.at("composer-laptop").focus();
      const draft = demo.device("laptop").getByTestId("other-draft");
      await draft.filter({ hasText: "Being written on Phone: “Where sh”" }).waitFor();
      await draft.getByRole("button", { name: "Go on here" }).click();
      await demo.holds("laptop", "Where sh");
      await demo.send("laptop", "Where shall we eat?");
      await demo.turn("phone", "Where shall we eat?").waitFor();
      await draft.waitFor({ state: "detached" });
      // What was begun on the phone has been said: it is not there to be sent again.
      await demo.holds("phone", "");
      await demo.saved();
      assert.deepEqual(await demo.said("phone"), ["Where shall we eat?"]);
    }));

  test("a preference that was set by hand is not beaten by a guess, and a blocked one is not guessed", () =>
    onPage(async (demo) => {
      for (const kind of /** @type {const} */ (["laptop", "tab"]))
        await demo.at(`preferences-${kind}`).click();
      const [here, there] = /** @type {const} */ (["laptop", "tab"]).map((kind) =>
        demo.device(kind).getByTestId("preference-tone"),
      );
      assert.ok(here && there);
      await there.getByRole("button", { name: "Let the assistant guess" }).click();
      await here.filter({ hasText: "Inferred, 70 % sure" }).waitFor();
      await here.getByRole("combobox").selectOption("dry");
      await there.filter({ hasText: "Set by hand on Laptop" }).waitFor();
      await there.getByRole("button", { name: "Let the assistant guess" }).click();
      await demo.saved();
      assert.equal(await here.getByRole("combobox").inputValue(), "dry");
      await here.getByRole("button", { name: "Block" }).click();
      await there.filter({ hasText: "Blocked: nobody may guess it." }).waitFor();
      await there.getByRole("button", { name: "Allow again" }).click();
      await here.filter({ hasText: "Nobody has set it." }).waitFor();
      await demo.saved();
    }));

  test("a ChatGPT export that is dropped on the page is imported, on every device", () =>
    onPage(async (demo) => {
      const file = Buffer.from(
        JSON.stringify([exported("Lisbon", "Where to stay?"), exported("Bread", "How long?")]),
      );
      const dropped = await demo.page.evaluateHandle((text) => {
        const data = new DataTransfer();
        data.items.add(new File([text], "conversations.json", { type: "application/json" }));
        return data;
      }, file.toString());
      for (const event of ["dragenter", "dragover", "drop"])
        await demo.page.locator(".page").dispatchEvent(event, { dataTransfer: dropped });
      await demo.at("import").filter({ hasText: "conversations.json: 2 conversations imported" }).waitFor();
      for (const kind of KINDS) await demo.at(`list-${kind}`).filter({ hasText: "Lisbon" }).waitFor();
      await demo.at("list-tab").getByRole("button", { name: "Bread" }).click();
      await demo.turn("tab", "How long?").waitFor();
      await demo
        .at("import-file")
        .setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("?") });
      await demo.at("import").filter({ hasText: "notes.txt could not be imported" }).waitFor();
      // The browser notes by itself that the server did not take it.
      const noted = demo.complaints.splice(0);
      assert.ok(noted.length === 1 && noted[0]?.includes("status of 422"), noted.join("\n"));
    }));
});

test("chaos: networks come and go while three devices write, and no turn is lost", () =>
  onPage(async (demo) => {
    await demo.saved();
    await demo.at("chaos-button").click();
    await demo.page.waitForFunction(
      () =>
        Number(/** @type {HTMLElement | null} */ (document.querySelector(".counts"))?.dataset["sent"]) >= 15,
    );
    await demo.at("chaos-button").click();
    await demo.at("chaos-proof").waitFor({ timeout: 60_000 });
    const [sent] = /\d+/.exec((await demo.at("chaos-proof").textContent()) ?? "") ?? [];
    for (const kind of KINDS)
      await demo.page.locator(`[data-testid=chat-${kind}][data-turns='${sent}']`).waitFor();
  }));

test("the page is legible in light, dark and phone width", async () => {
  await mkdir(SCREENSHOTS, { recursive: true });
  const narrow = {
    viewport: { width: 390, height: 844 },
    deviceScaleFactor: 2,
    isMobile: true,
    hasTouch: true,
  };
  for (const [name, options] of /** @type {const} */ ([
    ["light", { colorScheme: "light" }],
    ["dark", { colorScheme: "dark" }],
    ["narrow", { colorScheme: "light", ...narrow }],
  ])) {
    await onPage(async (demo) => {
      const kind = name === "narrow" ? "phone" : "laptop";
      if (name === "light") {
        await demo.converse("laptop");
        await demo.send("laptop", "How do I keep three devices in sync?");
        await demo.turn("laptop", /.+/).nth(1).waitFor();
        await demo.rename("laptop", "Three devices");
      } else await demo.openNewest(kind);
      await demo.turn(kind, "How do I keep three devices in sync?").waitFor();
      await demo.sees(kind, "saved");
      await demo.page.screenshot({ path: `${SCREENSHOTS}${name}.png` });
      const overflow = await demo.page.evaluate(
        () => document.documentElement.scrollWidth - window.innerWidth,
      );
      assert.ok(overflow <= 0, `${name}: nothing sticks out sideways`);
      for (const each of name === "narrow" ? /** @type {const} */ (["phone"]) : KINDS) await fits(demo, each);
    }, options);
  }
});

/**
 * The last network is the last thing in its row: where it is inside its device, so is the rest.
 * @param {Demo} demo
 * @param {import("./browser.mjs").Kind} kind
 */
async function fits(demo, kind) {
  const device = await demo.device(kind).boundingBox();
  for (const part of ["status", "offline"]) {
    const box = await demo.at(`${part}-${kind}`).boundingBox();
    assert.ok(
      device && box && box.x >= device.x && box.x + box.width <= device.x + device.width,
      `${part} fits`,
    );
  }
}

/** A conversation as a ChatGPT data export has it. @param {string} title @param {string} text */
function exported(title, text) {
  const id = crypto.randomUUID();
  const message = {
    id,
    author: { role: "user" },
    create_time: 1_760_000_000,
    content: { content_type: "text", parts: [text] },
  };
  return {
    title,
    conversation_id: crypto.randomUUID(),
    create_time: 1_760_000_000,
    update_time: 1_760_000_100,
    current_node: id,
    mapping: {
      root: { id: "root", message: null, parent: null, children: [id] },
      [id]: { id, message, parent: "root", children: [] },
    },
  };
}
