// Runs @y/websocket-server with its LevelDB store; the folder for its data is the first argument.
import { createServer } from "node:http";
import { join } from "node:path";

// Read when the module loads, so it is set before.
process.env.YPERSISTENCE = join(process.argv[2], "leveldb");
const { setupWSConnection } = await import("@y/websocket-server/utils");
const { default: WebSocket } = await import("ws");

const server = createServer();
const sockets = new WebSocket.Server({ noServer: true });
sockets.on("connection", setupWSConnection);
server.on("upgrade", (request, socket, head) => {
  sockets.handleUpgrade(request, socket, head, (opened) => sockets.emit("connection", opened, request));
});
server.listen(0, "127.0.0.1", () => {
  console.log(`y-websocket ready on http://127.0.0.1:${server.address().port}`);
});
