// The packages of web-demo, for scripts and pages outside of it: the very versions that the SDK is made of.
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";

const sdk = new URL("../../../web-demo/sdk/package.json", import.meta.url);
const require = createRequire(sdk);

export const packages = {
  async load(name) {
    const module = await import(pathToFileURL(require.resolve(name)).href);
    return module.default ?? module;
  },
  /** Finds for Vite what a page imports by name. */
  plugin: {
    name: "packages-of-web-demo",
    enforce: "pre",
    resolveId(name, importer) {
      const isOurs = importer !== undefined && importer.includes("/benches/compare/page/");
      if (!isOurs || /^[./]/.test(name)) return null;
      return this.resolve(name, fileURLToPath(new URL("./src/index.ts", sdk)), { skipSelf: true });
    },
  },
};
