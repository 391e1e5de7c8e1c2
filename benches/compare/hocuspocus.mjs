// Runs @hocuspocus/server with a file for each document; the folder for its data is the first argument.
// Not its SQLite store: that one needs a native module from the network, and files are no slower.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Database } from "@hocuspocus/extension-database";
import { Server } from "@hocuspocus/server";

const file = (document) => join(process.argv[2], encodeURIComponent(document));
const store = new Database({
  fetch: ({ documentName }) => readFile(file(documentName)).catch(() => null),
  store: ({ documentName, state }) => writeFile(file(documentName), state),
});
const server = new Server({ address: "127.0.0.1", port: 0, quiet: true, stopOnSignals: true, extensions: [store] });
await server.listen();
console.log(`hocuspocus ready on http://127.0.0.1:${server.address.port}`);
