/** Builds the service worker with a list of what the page is made of. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, type Plugin, type Rolldown } from "vite";

const SOURCE = fileURLToPath(new URL("./src/sw.ts", import.meta.url));
const PUBLIC = fileURLToPath(new URL("./public/", import.meta.url));

interface File {
  readonly url: string;
  readonly revision: string | null;
}

/**
 * Emits `sw.js`, which keeps the given page with everything it loads. The page of the HTTP API and what only that
 * one loads are left out: they are most of the bytes, and show nothing without the server.
 */
export function serviceWorker(page: string, extra: readonly string[]): Plugin {
  return {
    name: "syncline-service-worker",
    apply: "build",
    generateBundle: {
      order: "post",
      async handler(_options, bundle) {
        const files = [...filesOf(page, bundle), ...extra.flatMap((name) => entry(name, bundle[name]))];
        for (const name of readdirSync(PUBLIC)) files.push(revised(name, readFileSync(join(PUBLIC, name))));
        this.emitFile({ type: "asset", fileName: "sw.js", source: await script(files) });
      },
    },
  };
}

/** A page, its scripts and what those import, and their styles. */
function filesOf(page: string, bundle: Rolldown.OutputBundle): File[] {
  const html = bundle[page];
  if (html === undefined) throw new Error(`the build has no ${page}`);
  const wanted = new Set<string>();
  const want = (name: string) => {
    if (wanted.has(name)) return;
    wanted.add(name);
    const output = bundle[name];
    if (output?.type !== "chunk") return;
    for (const other of [...output.imports, ...output.dynamicImports]) want(other);
  };
  const source = html.type === "asset" ? String(html.source) : html.code;
  for (const [, name = ""] of source.matchAll(/(?:src|href)="\/(assets\/[^"]+)"/g)) want(name);
  return [page, ...wanted].flatMap((name) => entry(name, bundle[name]));
}

function entry(name: string, output: Rolldown.OutputAsset | Rolldown.OutputChunk | undefined): File[] {
  if (output === undefined) throw new Error(`the build has no ${name}`);
  // The name of an asset holds a hash of its content.
  if (name.startsWith("assets/")) return [{ url: `/${name}`, revision: null }];
  return [revised(name, output.type === "asset" ? output.source : output.code)];
}

function revised(name: string, content: string | Uint8Array): File {
  return { url: `/${name}`, revision: createHash("sha256").update(content).digest("hex").slice(0, 16) };
}

/** One classic script: not every browser takes modules there. */
async function script(files: readonly File[]): Promise<string> {
  const built = await build({
    configFile: false,
    logLevel: "warn",
    publicDir: false,
    define: { FILES: JSON.stringify(files) },
    build: {
      write: false,
      target: "es2022",
      rolldownOptions: { input: SOURCE, output: { format: "iife" } },
    },
  });
  const [first] = (Array.isArray(built) ? built : [built]).flatMap((one) =>
    "output" in one ? one.output : [],
  );
  if (first?.type !== "chunk") throw new Error("the service worker was not built");
  return first.code;
}
