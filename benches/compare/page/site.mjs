// Builds the measured pages and serves them on a port of their own.
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { packages } from "./packages.mjs";

const { build } = await packages.load("vite");
const TYPES = { html: "text/html", js: "text/javascript" };
/** So that a page may ask for its memory: `measureUserAgentSpecificMemory` takes an isolated one. */
const ISOLATED = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };

export async function serve(targets) {
  const files = new Map();
  const code = {};
  for (const target of targets) {
    const outputs = await built(target);
    for (const file of outputs) files.set(`/${target}/${file.fileName}`, file.type === "chunk" ? file.code : file.source);
    const chunks = outputs.filter(({ type }) => type === "chunk");
    code[target] = { gzipBytes: chunks.reduce((sum, chunk) => sum + gzipSync(chunk.code, { level: 9 }).length, 0) };
  }
  const site = createServer(({ url }, response) => {
    const path = url.endsWith("/") ? `${url}index.html` : url;
    const body = files.get(path);
    const type = TYPES[path.split(".").at(-1)] ?? "text/plain";
    response.writeHead(body === undefined ? 404 : 200, { "content-type": type, ...ISOLATED }).end(body ?? "");
  });
  await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
  return { url: `http://localhost:${site.address().port}`, code, close: () => site.close() };
}

async function built(target) {
  const outputs = await build({
    root: fileURLToPath(new URL(`./${target}/`, import.meta.url)),
    base: "./",
    configFile: false,
    logLevel: "error",
    plugins: [packages.plugin],
    build: { write: false, target: "es2022", modulePreload: { polyfill: false } },
  });
  return (Array.isArray(outputs) ? outputs : [outputs]).flatMap(({ output }) => output);
}
