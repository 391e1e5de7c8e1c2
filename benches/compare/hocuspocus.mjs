// Runs @hocuspocus/server with its SQLite store; the folder for its data is the first argument.
import { join } from "node:path";
import { SQLite } from "@hocuspocus/extension-sqlite";
import { Server } from "@hocuspocus/server";

const server = new Server({
  address: "127.0.0.1",
  port: 0,
  quiet: true,
  stopOnSignals: true,
  extensions: [new SQLite({ database: join(process.argv[2], "documents.sqlite") })],
});
await server.listen();
console.log(`hocuspocus ready on http://127.0.0.1:${server.address.port}`);
