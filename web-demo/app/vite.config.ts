import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

/** Ships the repository's README beside the page, so that its link works wherever the page is served. */
function readme(): Plugin {
  const file = fileURLToPath(new URL("../../README.md", import.meta.url));
  return {
    name: "syncline-readme",
    apply: "build",
    generateBundle() {
      const source = existsSync(file)
        ? readFileSync(file, "utf8")
        : "Syncline: see the README of its repository.\n";
      this.emitFile({ type: "asset", fileName: "README.txt", source });
    },
  };
}

/** Ships the licences of what the page of the HTTP API is made of: minifying drops them from the code. */
function licences(): Plugin {
  const folder = dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"));
  return {
    name: "syncline-licences",
    apply: "build",
    generateBundle() {
      const files = ["NOTICE", "LICENSE", "swagger-ui-es-bundle.js.LICENSE.txt"];
      const source = files.map((name) => readFileSync(join(folder, name), "utf8")).join("\n\n");
      this.emitFile({ type: "asset", fileName: "docs-licences.txt", source });
    },
  };
}

function page(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

export default defineConfig({
  plugins: [readme(), licences()],
  // Two copies of yjs in one page do not recognise each other's types.
  resolve: { dedupe: ["yjs"] },
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    // The page of the HTTP API is most of what is built; nobody loads it with the demo.
    chunkSizeWarningLimit: 2_000,
    rolldownOptions: { input: { index: page("index.html"), docs: page("docs.html") } },
  },
  server: { proxy: { "/sync": { target: "http://127.0.0.1:8787", ws: true } } },
});
