// Stands between a page and the server, and adds an answer that streams in token by token, as a run of the server does.
// No device may stream into a message: what a device sends is a whole message, and the server keeps it as it came.
import { createServer, request } from "node:http";
import { packages } from "./packages.mjs";

const { HocuspocusProvider, HocuspocusProviderWebsocket } = await packages.load("@hocuspocus/provider");
const WebSocket = await packages.load("ws");
const Y = await packages.load("yjs");
const { createEncoder, toUint8Array, writeVarString, writeVarUint, writeVarUint8Array } =
  await packages.load("lib0/encoding");

const [SYNC, UPDATE] = [0, 2];
const WORDS = " a few words that stand in for an answer".split(/(?= )/);

export class Relay {
  #document;
  #doc = new Y.Doc();
  #pages = new Set();
  #text;
  #socket;
  #site;

  static async start(url, document) {
    const relay = new Relay();
    relay.#document = document;
    await relay.#serve(new URL(url));
    await relay.#copy(url);
    return relay;
  }

  get url() {
    return `http://127.0.0.1:${this.#site.address().port}`;
  }

  /** Shows the beginning of an answer after the last message, and returns it. */
  begin() {
    const [messages, accepted] = [this.#doc.getMap("messages"), this.#doc.getMap("accepted")];
    const [parent, [seq]] = [...accepted].reduce((last, entry) => (entry[1][0] > last[1][0] ? entry : last));
    const id = crypto.randomUUID();
    this.#doc.transact(() => {
      this.#text = new Y.Text(`Here it comes: ${id}`);
      const head = { role: "assistant", parent, by: "agent:measured", at: `${Date.now()}-0000`, req: id };
      const part = new Y.Map([["head", { type: "text", id: "0" }], ["text", this.#text]]);
      messages.set(id, new Y.Map([["head", head], ["parts", new Y.Map([["0", part]])]]));
      accepted.set(id, [seq + 1, parent]);
      this.#doc.getMap("state").set(id, ["streaming"]);
    });
    return id;
  }

  /** Appends so many tokens a second, each when it is due, for so many seconds; then says that it is over. */
  async write(rate, seconds) {
    const begun = performance.now();
    for (let at = 0; at < rate * seconds; at += 1) {
      const wait = begun + (at * 1_000) / rate - performance.now();
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
      this.#text.insert(this.#text.length, WORDS[at % WORDS.length]);
    }
    this.#text.insert(this.#text.length, ` over ${seconds}`);
  }

  close() {
    this.#socket.destroy();
    this.#site.close();
    this.#site.closeAllConnections();
  }

  /** Passes on what goes to and fro, of the HTTP API and of the sockets. */
  async #serve(server) {
    this.#site = createServer((asked, answer) => {
      const { method, headers, url: path } = asked;
      const passed = request({ host: server.hostname, port: server.port, method, headers, path }, (got) => {
        answer.writeHead(got.statusCode, got.headers);
        got.pipe(answer);
      });
      passed.on("error", () => answer.destroy());
      asked.pipe(passed);
    });
    new WebSocket.WebSocketServer({ server: this.#site }).on("connection", (page, { url: path }) => {
      const upstream = new WebSocket(`ws://${server.host}${path}`);
      const early = [];
      page.on("message", (data) => (upstream.readyState === WebSocket.OPEN ? upstream.send(data) : early.push(data)));
      upstream.on("open", () => early.splice(0).forEach((data) => upstream.send(data)));
      upstream.on("message", (data) => page.send(data));
      page.on("close", () => upstream.close());
      upstream.on("close", () => page.close());
      upstream.on("error", () => page.close());
      this.#pages.add(page);
      page.on("close", () => this.#pages.delete(page));
    });
    await new Promise((resolve) => this.#site.listen(0, "127.0.0.1", resolve));
  }

  /** Keeps a copy of the document; what is written into it here goes to the pages, and not to the server. */
  async #copy(url) {
    const doc = new Y.Doc();
    this.#socket = new HocuspocusProviderWebsocket({
      url: `${url.replace(/^http/, "ws")}/sync?device=relay`,
      WebSocketPolyfill: WebSocket,
    });
    const provider = new HocuspocusProvider({
      websocketProvider: this.#socket,
      name: this.#document,
      document: doc,
      token: "",
    });
    const synced = new Promise((resolve) => provider.on("synced", resolve));
    provider.attach();
    await synced;
    Y.applyUpdate(this.#doc, Y.encodeStateAsUpdate(doc));
    this.#doc.on("update", (update) => {
      const frame = createEncoder();
      writeVarString(frame, this.#document);
      writeVarUint(frame, SYNC);
      writeVarUint(frame, UPDATE);
      writeVarUint8Array(frame, update);
      for (const page of this.#pages) page.send(toUint8Array(frame));
    });
  }
}
