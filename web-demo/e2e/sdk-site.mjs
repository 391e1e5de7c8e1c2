// @ts-check
/** Builds a page with the SDK in it, and serves it on a port of its own. */
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const ROOT = fileURLToPath(new URL("./sdk-page/", import.meta.url));
/** @type {Readonly<Record<string, string>>} */
const TYPES = { html: "text/html", js: "text/javascript" };

/** @returns {Promise<{ url: string, close: () => void }>} */
export async function serveSdk() {
  const built = await build({ root: ROOT, configFile: false, logLevel: "error", build: { write: false } });
  const outputs = (Array.isArray(built) ? built : [built]).flatMap((each) =>
    "output" in each ? each.output : [],
  );
  const files = new Map(
    outputs.map((file) => [`/${file.fileName}`, file.type === "chunk" ? file.code : file.source]),
  );
  const site = createServer(({ url = "/" }, response) => {
    const path = url === "/" ? "/index.html" : url;
    const body = files.get(path);
    const type = TYPES[path.split(".").at(-1) ?? ""] ?? "text/plain";
    response.writeHead(body === undefined ? 404 : 200, { "content-type": type }).end(body ?? "");
  });
  await new Promise((resolve) => site.listen(0, "127.0.0.1", () => resolve(undefined)));
  const address = site.address();
  if (address === null || typeof address === "string") throw new Error("the page has no port");
  return { url: `http://localhost:${address.port}/`, close: () => site.close() };
}
