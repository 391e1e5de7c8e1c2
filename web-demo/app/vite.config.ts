import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";
import { answersFrom } from "./answers.ts";

const README = new URL("../../README.md", import.meta.url);
/** Real conversations, where the machine has them beside the repository. */
const TREES = new URL("../../../shared/data/oasst_trees.jsonl", import.meta.url);

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

const text = (file: URL): string | undefined =>
  existsSync(fileURLToPath(file)) ? readFileSync(file, "utf8") : undefined;

export default defineConfig({
  plugins: [
    asset("README.txt", () => text(README) ?? "Syncline: see the README of its repository.\n"),
    asset("answers.json", () => JSON.stringify(answersFrom(text(TREES) ?? ""))),
  ],
  // Two copies of yjs or react in one page do not recognise each other's things.
  resolve: { dedupe: ["yjs", "react", "react-dom"] },
  build: { target: "es2022", modulePreload: { polyfill: false }, assetsInlineLimit: 0 },
  server: {
    proxy: {
      "/sync": { target: "http://127.0.0.1:8787", ws: true },
      "/v1": "http://127.0.0.1:8787",
      "/healthz": "http://127.0.0.1:8787",
    },
  },
});
