// @ts-check
/** The page of the HTTP API: it shows every call, tries one, and asks nobody but its own server. */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Server } from "../sdk/test/support/server.mjs";
import { launch } from "./browser.mjs";

const SCREENSHOTS = fileURLToPath(new URL("./screenshots/", import.meta.url));
const METHODS = ["get", "head", "put", "post", "patch", "delete"];

/** @type {Server} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
});

after(async () => {
  await browser?.close();
  await server?.remove();
});

test("the page shows every call, tries one, and asks nobody but its server", async () => {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  /** @type {string[]} */
  const complaints = [];
  /** @type {string[]} */
  const elsewhere = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.origin !== server.url) elsewhere.push(request.url());
  });
  const answer = await page.goto(`${server.url}/docs`);
  assert.match(answer?.headers()["content-security-policy"] ?? "", /default-src 'self'/);
  await page.getByRole("heading", { name: /^Syncline/ }).waitFor();

  const described = await (await fetch(`${server.url}/openapi.json`)).json();
  const calls = Object.values(described.paths).flatMap((path) =>
    Object.keys(path).filter((method) => METHODS.includes(method)),
  );
  await page
    .locator(".opblock")
    .nth(calls.length - 1)
    .waitFor();
  assert.equal(await page.locator(".opblock").count(), calls.length);

  await mkdir(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: `${SCREENSHOTS}docs.png` });

  const health = page.locator("#operations-operation-operation_healthz");
  await health.locator(".opblock-summary-control").click();
  await health.getByRole("button", { name: "Try it out" }).click();
  await health.getByRole("button", { name: "Execute" }).click();
  await health.locator(".live-responses-table .response-col_status", { hasText: "200" }).waitFor();
  await health.scrollIntoViewIfNeeded();
  await page.screenshot({ path: `${SCREENSHOTS}docs-call.png` });

  assert.deepEqual(elsewhere, [], "nothing is asked of another server");
  assert.deepEqual(complaints, [], "the console stays clean");
  await page.close();
});
