// One visit of a measured page: what it sends and gets, how soon it is whole, what it takes.

/** A page that sends and gets nothing for so long has all it wants. */
const QUIET_MS = 1_000;
const PATIENCE_MS = 60_000;

export class Visit {
  #page;
  #cdp;
  #wanted;
  #lastAt = performance.now();
  /** By what they carry: the chat, other documents, the HTTP API. */
  #bytes = { chat: 0, documents: 0, http: 0 };
  #requests = new Map();

  static async open(context, url, asked) {
    const visit = new Visit();
    visit.#page = await context.newPage();
    visit.#cdp = await context.newCDPSession(visit.#page);
    visit.#wanted = asked.chat === undefined ? ["sidebarMs"] : ["sidebarMs", "chatMs"];
    await visit.#listen(asked);
    visit.#page.on("pageerror", (error) => console.error(`the page: ${error}`));
    await visit.#page.goto(`${url}#${encodeURIComponent(JSON.stringify(asked))}`);
    return visit;
  }

  async #listen({ server, user, chat }) {
    const frame = ({ response: { opcode, payloadData } }) => {
      this.#lastAt = performance.now();
      const data = Buffer.from(payloadData, opcode === 2 ? "base64" : "utf8");
      const name = data.subarray(1, 1 + (data[0] ?? 0)).toString();
      this.#bytes[chat !== undefined && name === `${user}/c/${chat}` ? "chat" : "documents"] += data.length;
    };
    this.#cdp.on("Network.webSocketFrameSent", frame);
    this.#cdp.on("Network.webSocketFrameReceived", frame);
    this.#cdp.on("Network.requestWillBeSent", ({ requestId, request }) => {
      if (request.url.startsWith(server)) this.#requests.set(requestId, request.url);
    });
    this.#cdp.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
      if (!this.#requests.delete(requestId)) return;
      this.#lastAt = performance.now();
      this.#bytes.http += encodedDataLength;
    });
    await this.#cdp.send("Network.enable");
    // Seconds of the thread, not of the clock: other processes are not the page's doing.
    await this.#cdp.send("Performance.enable", { timeDomain: "threadTicks" });
  }

  /** Waits until all is there, painted, stored, and the wire is quiet. */
  async figures() {
    await this.#page.waitForFunction(
      (names) => names.every((name) => window.marks?.[name] !== undefined),
      this.#wanted,
      { timeout: PATIENCE_MS },
    );
    const marks = await this.#page.evaluate(() => window.marks);
    await this.#quiet();
    await this.#page.evaluate(() => window.stored());
    const metrics = await this.#metrics();
    return { ...marks, ...this.#bytes, requests: this.#requests.size, cpuMs: Math.round(metrics.TaskDuration * 1_000) };
  }

  /** The page's memory after a collection: JavaScript's heap, and all that the browser counts as the page's. */
  async memory() {
    await this.#cdp.send("HeapProfiler.collectGarbage");
    const { usedSize } = await this.#cdp.send("Runtime.getHeapUsage");
    const total = await this.#page.evaluate(
      async () => (await performance.measureUserAgentSpecificMemory?.())?.bytes,
    );
    return { heapBytes: usedSize, totalBytes: total };
  }

  /** The share of one core that the page's main thread takes while something goes on, in percent. */
  async cpu(work) {
    const [before, begun] = [await this.#metrics(), performance.now()];
    await work();
    const [after, seconds] = [await this.#metrics(), (performance.now() - begun) / 1_000];
    const share = (name) => ((after[name] - before[name]) * 100) / seconds;
    return { task: share("TaskDuration"), script: share("ScriptDuration"), seconds };
  }

  pause(ms) {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  /** Waits until the page shows a text. */
  async sees(text) {
    await this.#page.waitForFunction((text) => document.body.textContent.includes(text), text, { timeout: PATIENCE_MS });
  }

  async close() {
    await this.#page.close();
  }

  async #quiet() {
    while (performance.now() - this.#lastAt < QUIET_MS || this.#requests.size > 0) await this.pause(QUIET_MS / 10);
  }

  async #metrics() {
    const { metrics } = await this.#cdp.send("Performance.getMetrics");
    return Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
  }
}
