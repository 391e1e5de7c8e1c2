// @ts-check
/** The real server: one process and one data folder, started, killed and started again. */

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const home = fileURLToPath(new URL('../../../', import.meta.url))

/** The binary under test; `SYNCLINE_BIN` names another one. */
export const binary = resolve(process.env.SYNCLINE_BIN ?? join(home, 'target/debug/syncline'))

/**
 * @typedef {object} ServerOptions
 * @property {boolean} [open] without auth (default), or with tokens
 * @property {string} [config] text of a configuration file
 * @property {string[]} [args] further flags of `syncline serve`
 */

export class Server {
  /** @type {import('node:child_process').ChildProcess | null} */
  #process = null
  /** @type {Promise<unknown>} */
  #exit = Promise.resolve()
  #log = ''
  #port = 0

  /** @param {ServerOptions} options */
  constructor(options) {
    this.options = options
    this.data = mkdtempSync(join(tmpdir(), 'syncline-interop-'))
    this.address = ''
  }

  /**
   * Starts a server that ends, with its data, when the test does.
   *
   * @param {{ after: (fn: () => unknown) => void }} test
   * @param {ServerOptions} [options]
   */
  static async start(test, options = {}) {
    if (!existsSync(binary)) {
      throw new Error(`no server at ${binary}: run \`cargo build -p syncline-server\`, or set SYNCLINE_BIN`)
    }
    const server = new Server(options)
    test.after(() => server.remove())
    await server.up()
    return server
  }

  /** Starts the process on the port and the data of the time before. */
  async up() {
    const { open = true, config, args = [] } = this.options
    const flags = ['serve', '--listen', `127.0.0.1:${this.#port}`, '--data', this.data, ...args]
    if (open) flags.push('--open')
    if (config !== undefined) {
      const file = join(this.data, '..', `${this.data.split('/').pop()}.toml`)
      writeFileSync(file, config)
      flags.push('--config', file)
    }
    const child = spawn(binary, flags, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#process = child
    this.#exit = once(child, 'exit')
    child.stderr?.setEncoding('utf8').on('data', (text) => {
      this.#log = (this.#log + text).slice(-8_000)
      if (process.env.SYNCLINE_LOG) process.stderr.write(text)
    })
    this.address = await this.#ready(child)
    this.#port = Number(new URL(`http://${this.address}`).port)
  }

  /** @param {import('node:child_process').ChildProcess} child */
  #ready(child) {
    return new Promise((/** @type {(address: string) => void} */ done, fail) => {
      let out = ''
      child.stdout?.setEncoding('utf8').on('data', (text) => {
        out += text
        const ready = /^syncline ready on http:\/\/(\S+)$/m.exec(out)
        if (ready) done(/** @type {string} */ (ready[1]))
      })
      child.once('error', fail)
      child.once('exit', (code, signal) =>
        fail(new Error(`the server ended before it was ready (${code ?? signal}):\n${this.#log}`)),
      )
    })
  }

  /** Sends SIGKILL at once; the promise is for the end of the process. */
  kill() {
    this.#process?.kill('SIGKILL')
    return this.#exit
  }

  /** Asks for an orderly end and gives the exit code. */
  async term() {
    this.#process?.kill('SIGTERM')
    await this.#exit
    return this.#process?.exitCode
  }

  async restart() {
    await this.kill()
    await this.up()
  }

  /** Stops the process in its tracks; sockets stay open and silent. */
  freeze() {
    this.#process?.kill('SIGSTOP')
  }

  thaw() {
    this.#process?.kill('SIGCONT')
  }

  /**
   * @param {{ user: string, role?: string, device?: string, ttl?: string }} claims
   * @returns {Promise<string>}
   */
  async token({ user, role, device, ttl }) {
    const args = ['token', '--data', this.data, '--user', user]
    if (role) args.push('--role', role)
    if (device) args.push('--device', device)
    if (ttl) args.push('--ttl', ttl)
    const { stdout } = await run(binary, args)
    return stdout.trim()
  }

  /**
   * Reads a document's content from the folder of a server that is not running.
   *
   * @param {string} document
   * @returns {Promise<{ name: string, seq: number, content: Record<string, any> }>}
   */
  async onDisk(document) {
    const args = ['inspect', '--data', this.data, document, '--json']
    const { stdout } = await run(binary, args, { maxBuffer: 64 << 20 })
    return JSON.parse(stdout)
  }

  async remove() {
    this.thaw()
    await this.kill()
    rmSync(this.data, { recursive: true, force: true })
    rmSync(`${this.data}.toml`, { force: true })
  }
}
