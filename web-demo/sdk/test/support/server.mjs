// @ts-check
/** Starts, kills and restarts the real server binary on a folder of its own; for the tests here and in a browser. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const BINARY =
  process.env["SYNCLINE_BIN"] ?? fileURLToPath(new URL("../../../../target/debug/syncline", import.meta.url));
const READY = /^syncline ready on http:\/\/(\S+)$/;
const START_TIMEOUT_MS = 30_000;

export class Server {
  /** @type {import("node:child_process").ChildProcess | undefined} */
  #process;
  #data = "";
  #address = "127.0.0.1:0";
  /** @type {readonly string[]} */
  #flags = [];
  #binary = BINARY;

  get url() {
    return `http://${this.#address}`;
  }

  /** @param {readonly string[]} flags @param {string} binary */
  static async start(flags = ["--open"], binary = BINARY) {
    const server = new Server();
    server.#flags = flags;
    server.#binary = binary;
    server.#data = await mkdtemp(join(tmpdir(), "syncline-test-"));
    await server.start();
    return server;
  }

  /** Starts on the same folder, and after the first time on the same port. */
  async start() {
    const flags = ["serve", ...this.#flags, "--listen", this.#address, "--data", this.#data];
    const child = spawn(this.#binary, flags, { stdio: ["ignore", "pipe", "pipe"] });
    this.#process = child;
    /** @type {string[]} */
    const log = [];
    createInterface({ input: child.stderr }).on("line", (line) => log.push(line));
    this.#address = await new Promise((resolve, reject) => {
      const fail = (/** @type {string} */ why) =>
        reject(new Error(`${this.#binary}: ${why}\n${log.slice(-20).join("\n")}`));
      const timer = setTimeout(() => fail("did not say that it is ready"), START_TIMEOUT_MS);
      child.once("error", (error) => fail(error.message));
      child.once("exit", (code, signal) => fail(`ended with ${code ?? signal}`));
      createInterface({ input: child.stdout }).on("line", (line) => {
        const address = READY.exec(line)?.[1];
        if (address === undefined) return;
        clearTimeout(timer);
        resolve(address);
      });
    });
  }

  /**
   * Makes a token as the command line does.
   * @param {string} user
   * @param {string} device
   * @param {string} ttl
   * @param {string} role
   */
  async token(user, device, ttl = "1h", role = "owner") {
    const who = ["--user", user, "--device", device, "--role", role];
    const flags = ["token", "--data", this.#data, ...who, "--ttl", ttl];
    const { stdout } = await promisify(execFile)(this.#binary, flags);
    return stdout.trim();
  }

  get isRunning() {
    const child = this.#process;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  async kill() {
    const child = this.#process;
    if (child === undefined || !this.isRunning) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }

  async remove() {
    await this.kill();
    await rm(this.#data, { recursive: true, force: true });
  }
}
