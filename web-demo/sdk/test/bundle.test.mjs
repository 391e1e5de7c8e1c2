// @ts-check
/** What a page downloads for the SDK: all of it but yjs, minified and compressed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";

const LIMIT_BYTES = 40_000;

/** @param {string} entry @param {readonly string[]} external */
async function size(entry, external) {
  const built = await build({
    root: fileURLToPath(new URL("..", import.meta.url)),
    configFile: false,
    logLevel: "error",
    build: {
      write: false,
      minify: true,
      lib: { entry: fileURLToPath(new URL(`../dist/${entry}`, import.meta.url)), formats: ["es"] },
      rollupOptions: { external: [...external] },
    },
  });
  const outputs = (Array.isArray(built) ? built : [built]).flatMap((each) =>
    "output" in each ? each.output : [],
  );
  const code = outputs.map((file) => (file.type === "chunk" ? file.code : "")).join("");
  return gzipSync(code, { level: 9 }).length;
}

test("the SDK is under 40 KB beside yjs, and the sub-paths are small", async (context) => {
  const whole = await size("index.js", ["yjs"]);
  context.diagnostic(`${whole} bytes gzipped`);
  assert.ok(whole < LIMIT_BYTES, `${whole} bytes`);
  for (const entry of ["react/index.js", "ai/index.js", "assistant-ui/index.js"]) {
    const external = [
      "yjs",
      "react",
      "@assistant-ui/react",
      fileURLToPath(new URL("../dist/index.js", import.meta.url)),
    ];
    const bytes = await size(entry, external);
    context.diagnostic(`${entry}: ${bytes} bytes gzipped`);
    assert.ok(bytes < 4_000, `${entry}: ${bytes} bytes`);
  }
});
