// @ts-check
/** The page's service worker: two builds of the page on a server that goes. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch, until } from "./browser.mjs";

const BUILT = new URL("../app/dist/", import.meta.url);
/** @type {Readonly<Record<string, string>>} */
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

/** Serves the built page; another version has another title, and says so in the worker's list. */
class Site {
  version = 1;
  /** Whether a proxy answers for a server that is not there. */
  isBehindProxy = false;
  /** @type {string[]} */
  asked = [];
  #server = createServer(async ({ url = "/" }, response) => {
    const path = url === "/" ? "/index.html" : (url.split("?")[0] ?? url);
    this.asked.push(path);
    if (this.isBehindProxy) return response.writeHead(502).end("bad gateway");
    if (path.startsWith("/v1/")) return response.writeHead(200).end("told");
    const body = await readFile(fileURLToPath(new URL(`.${path}`, BUILT))).catch(() => undefined);
    if (body === undefined) return response.writeHead(404).end();
    response.writeHead(200, {
      "content-type": TYPES[extname(path)] ?? "text/plain",
      "cache-control": "no-cache",
    });
    return response.end(this.#edited(path, body));
  });

  static async start() {
    const site = new Site();
    site.#server.listen(0, "127.0.0.1");
    await once(site.#server, "listening");
    return site;
  }

  get url() {
    const address = this.#server.address();
    assert.ok(address !== null && typeof address === "object");
    return `http://127.0.0.1:${address.port}`;
  }

  async end() {
    if (!this.#server.listening) return;
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  /** @param {string} path @param {Buffer} body */
  #edited(path, body) {
    if (path === "/index.html")
      return body.toString().replace(/<title>.*<\/title>/, `<title>Version ${this.version}</title>`);
    if (path !== "/sw.js") return body;
    const edited = body
      .toString()
      .replace(/(url:[`"']\/index\.html[`"'],revision:[`"'])[^`"']*/, `$1${this.version}`);
    assert.notEqual(edited, body.toString(), "the worker lists the page");
    return edited;
  }
}

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/**
 * Waits until the browser keeps a version of the page, and no other: what was kept before goes once the new worker is in charge.
 * @param {import("playwright-core").Page} page
 * @param {number} version
 */
async function keeps(page, version) {
  await until(
    page,
    async (title) => {
      const kept = [];
      for (const name of await caches.keys()) {
        const cache = await caches.open(name);
        kept.push(...(await cache.matchAll("/index.html", { ignoreSearch: true })));
      }
      const texts = await Promise.all(kept.map((page) => page.text()));
      return (texts.length > 0 && texts.every((text) => text.includes(title))) || undefined;
    },
    `<title>Version ${version}</title>`,
    `version ${version} is kept`,
  );
  await page.evaluate(async () => {
    const { active } = await navigator.serviceWorker.ready;
    if (active?.state === "activated") return;
    await new Promise((resolve) => {
      active?.addEventListener("statechange", () => active.state === "activated" && resolve(undefined));
    });
  });
}

test("a new version shows at the next load, and the page comes up when there is no server", async (t) => {
  const site = await Site.start();
  t.after(() => site.end());
  const { url } = site;
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(url);
  await keeps(page, 1);
  assert.equal(await page.title(), "Version 1");
  site.version = 2;
  await page.reload();
  assert.equal(await page.title(), "Version 2");
  await keeps(page, 2);
  // Scripts and styles come from what is kept.
  site.asked = [];
  await page.reload();
  await page.getByTestId("device-laptop").waitFor();
  assert.deepEqual(
    site.asked.filter((path) => path.startsWith("/assets/")),
    [],
  );
  assert.equal(await page.evaluate(async () => (await fetch("/v1/anything")).text()), "told");
  site.isBehindProxy = true;
  await page.reload();
  assert.equal(await page.title(), "Version 2");
  await page.getByTestId("device-laptop").waitFor();
  await site.end();
  await page.reload();
  assert.equal(await page.title(), "Version 2");
  await page.getByTestId("device-laptop").waitFor();
  // The HTTP API and its page are never answered from what is kept.
  assert.equal(
    await page.evaluate(() =>
      fetch("/v1/anything").then(
        () => "told",
        () => "none",
      ),
    ),
    "none",
  );
  await assert.rejects(page.goto(`${url}/docs`), /ERR_CONNECTION_REFUSED/);
  await context.close();
});

test("the page can be installed: a manifest with icons that are there", async (t) => {
  const site = await Site.start();
  t.after(() => site.end());
  const page = await browser.newPage();
  await page.goto(site.url);
  const session = await page.context().newCDPSession(page);
  const { errors, data } = await session.send("Page.getAppManifest");
  assert.deepEqual(errors, []);
  const { icons, start_url: start } = JSON.parse(data ?? "{}");
  assert.equal(start, "/");
  for (const { src, sizes } of icons) {
    const size = await page.evaluate(async (src) => {
      const image = new Image();
      image.src = src;
      await image.decode();
      return `${image.naturalWidth}x${image.naturalHeight}`;
    }, src);
    if (sizes !== "any") assert.equal(size, sizes, src);
  }
  const { installabilityErrors } = await session.send("Page.getInstallabilityErrors");
  assert.deepEqual(
    installabilityErrors.filter(({ errorId }) => errorId !== "in-incognito"),
    [],
  );
  await page.close();
});
