import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";
import { answersFrom } from "./answers.ts";
import { serviceWorker } from "./service-worker.ts";

const README = new URL("../../README.md", import.meta.url);
/** Real conversations, where the machine has them beside the repository. */
const TREES = new URL("../../../shared/data/oasst_trees.jsonl", import.meta.url);
const SERVER = "http://127.0.0.1:8787";

/** Ships a file beside the page, made when the page is built. */
function asset(fileName: string, source: () => string): Plugin {
  return {
    name: `syncline-${fileName}`,
    apply: "build",
    generateBundle() {
      this.emitFile({ type: "asset", fileName, source: source() });
    },
  };
}

/** The licences of what the page of the HTTP API is made of: minifying drops them from the code. */
function licences(): string {
  const folder = dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"));
  const files = ["NOTICE", "LICENSE", "swagger-ui-es-bundle.js.LICENSE.txt"];
  return files.map((name) => readFileSync(join(folder, name), "utf8")).join("\n\n");
}

const text = (file: URL): string | undefined =>
  existsSync(fileURLToPath(file)) ? readFileSync(file, "utf8") : undefined;

const page = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export default defineConfig({
  plugins: [
    asset("README.txt", () => text(README) ?? "Syncline: see the README of its repository.\n"),
    asset("answers.json", () => JSON.stringify(answersFrom(text(TREES) ?? ""))),
    asset("docs-licences.txt", licences),
    serviceWorker("index.html", ["answers.json"]),
  ],
  // Two copies of yjs or react in one page do not recognise each other's things.
  resolve: { dedupe: ["yjs", "react", "react-dom"] },
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    // The page of the HTTP API is most of what is built; nobody loads it with the demo.
    chunkSizeWarningLimit: 2_000,
    rolldownOptions: { input: { index: page("index.html"), docs: page("docs.html") } },
  },
  server: { proxy: { "/sync": { target: SERVER, ws: true }, "/v1": SERVER, "/healthz": SERVER } },
});
