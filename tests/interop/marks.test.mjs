// @ts-check
/**
 * Read marks whose history the server renews, on plain Yjs 13: devices that hold the old history, all of it or the
 * beginning, with edits that nobody has seen, go on as if nothing had happened, and none of their marks is lost.
 */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import WS from 'ws'
import * as Y from 'yjs'
import { Device, family } from './lib/clients.mjs'
import { hlc, registers, user } from './lib/model.mjs'
import { Server, binary } from './lib/server.mjs'
import { until } from './lib/wait.mjs'
import { parse, syncFrame } from './lib/wire.mjs'

const run = promisify(execFile)
const SEEDS = Number(process.env.SYNCLINE_SEEDS ?? 150)
const CONFIG = '[limits]\nmarks_epoch_bytes = 2000\nfold_updates = 20\nevict_after_ms = 1000\n'

/** @param {number} n */
const conversation = (n) => `018c1f3e-0000-7000-8000-${String(n).padStart(12, '0')}`
/** @param {any} doc @param {number} n */
const mark = (doc, n) => registers(doc.getMap('marks'), `${conversation(n)}|read`)[0]

/** @param {any} doc @param {number} count */
function winners(doc, count) {
  /** @type {Record<number, [string, number]>} */
  const all = {}
  for (let n = 0; n < count; n++) {
    const own = [...doc.getMap('marks')].filter(([key]) => key.startsWith(`${conversation(n)}|read@`))
    const [first] = own.map(([, [at, seq]]) => /** @type {[string, number]} */ ([at, seq])).sort(compare).reverse()
    if (first) all[n] = first
  }
  return all
}

/** @param {[string, number]} a @param {[string, number]} b */
const compare = ([x, m], [y, n]) => (x < y ? -1 : x > y ? 1 : m - n)

/** @param {Server} server */
async function renewals(server) {
  const text = await (await fetch(`http://${server.address}/metrics`)).text()
  return Number(/^syncline_marks_renewals_total (\d+)$/m.exec(text)?.[1])
}

/** Xorshift: the same numbers for the same seed. */
class Rng {
  /** @param {number} seed */
  constructor(seed) {
    this.state = (Math.imul(seed, 0x9e3779b9) | 1) >>> 0
  }

  /** @param {number} end */
  below(end) {
    this.state ^= this.state << 13
    this.state ^= this.state >>> 17
    this.state ^= this.state << 5
    return (this.state >>> 0) % end
  }
}

/** A plain Yjs document and, at times, a socket. */
class Plain extends EventEmitter {
  /** @type {WS | null} */
  socket = null
  answers = 0
  /** @type {string[]} */
  refusals = []

  /** @param {Server} server @param {string} document @param {string} writer @param {Uint8Array} [held] */
  constructor(server, document, writer, held) {
    super()
    this.url = () => `ws://${server.address}/sync/${document}`
    this.writer = writer
    this.doc = new Y.Doc()
    if (held) Y.applyUpdate(this.doc, held)
    this.doc.on('update', (update, origin) => {
      if (origin !== this) this.socket?.send(syncFrame('update', update))
    })
  }

  /** @param {number} n @param {string} at @param {number} seq */
  mark(n, at, seq) {
    this.doc.getMap('marks').set(`${conversation(n)}|read@${this.writer}`, [at, seq])
  }

  async connect() {
    if (this.socket) return
    const socket = new WS(this.url())
    socket.on('message', (data) => this.#hear(Uint8Array.from(/** @type {Buffer} */ (data))))
    socket.on('error', () => {})
    await new Promise((done, fail) => socket.once('open', done).once('close', () => fail(new Error('no socket'))))
    this.socket = socket
    await this.rounds()
  }

  /** What the server asks for after one answer is given by the next. */
  async rounds() {
    for (let round = 0; round < 3; round++) {
      const answers = this.answers
      this.socket?.send(syncFrame('step1', Y.encodeStateVector(this.doc)))
      await until(this, () => this.answers > answers, 'an answer')
    }
  }

  disconnect() {
    this.socket?.terminate()
    this.socket = null
  }

  /** @param {Uint8Array} bytes */
  #hear(bytes) {
    const { kind, bytes: payload, text } = parse(bytes, 'plain')
    if (kind === 'auth') this.refusals.push(String(text))
    if (!payload || kind === 'awareness') return
    if (kind === 'step1') this.socket?.send(syncFrame('step2', Y.encodeStateAsUpdate(this.doc, payload)))
    else Y.applyUpdate(this.doc, payload, this)
    if (kind === 'step2') {
      this.answers += 1
      this.emit('change')
    }
  }
}

const CONVERSATIONS = 4

/** One user's devices at random. @param {Server} server @param {number} seed */
async function live(server, seed) {
  const rng = new Rng(seed)
  const document = `user${seed}/marks`
  let [now, sessions] = [Date.now() - 100_000, 0]
  /** @type {Record<number, [string, number]>} */
  const model = {}
  const device = (/** @type {Uint8Array | undefined} */ held) => new Plain(server, document, `device.s${sessions++}`, held)
  const devices = [device(undefined), device(undefined), device(undefined), device(undefined)]
  try {
    for (let step = 0; step < 240; step++) {
      // The last ones are seldom there.
      const at = Math.floor((rng.below(8) * rng.below(8)) / 16)
      const who = /** @type {Plain} */ (devices[at])
      const what = rng.below(40)
      if (what < 26) {
        for (let more = rng.below(16); more >= 0; more--) {
          const n = rng.below(CONVERSATIONS)
          const said = /** @type {[string, number]} */ ([hlc((now += 1 + rng.below(3))), rng.below(1_000)])
          who.mark(n, ...said)
          if (!model[n] || compare(model[n], said) < 0) model[n] = said
        }
      } else if (what < 33) await who.connect()
      else if (what < 38) who.disconnect()
      else {
        // Its page is loaded anew: another Yjs client with all that was kept, or a session that begins with nothing.
        await who.connect()
        await who.rounds()
        who.disconnect()
        const kept = rng.below(3) ? Y.encodeStateAsUpdate(who.doc) : undefined
        const next = device(kept)
        if (kept && rng.below(2)) next.writer = who.writer
        devices[at] = next
      }
    }
    for (let round = 0; round < 2; round++) {
      for (const who of devices) {
        await who.connect()
        await who.rounds()
      }
    }
    const fresh = device(undefined)
    await fresh.connect()
    for (const who of [fresh, ...devices]) {
      await who.rounds()
      assert.deepEqual(winners(who.doc, CONVERSATIONS), model, `seed ${seed}, ${who.writer}`)
      assert.deepEqual(who.refusals, [], `seed ${seed}`)
    }
    return { document, model, bytes: Y.encodeStateAsUpdate(fresh.doc).length }
  } finally {
    for (const who of devices) who.disconnect()
  }
}

describe('read marks', () => {
  test(`${SEEDS} users' devices at random: no mark is lost, whoever was away`, { timeout: 300_000 }, async (t) => {
    const server = await Server.start(t, { config: CONFIG })
    const ended = []
    for (let seed = 1; seed <= SEEDS; seed += 10) {
      const some = Array.from({ length: Math.min(10, SEEDS - seed + 1) }, (_, n) => live(server, seed + n))
      ended.push(...(await Promise.all(some)))
    }
    const renewed = await renewals(server)
    t.diagnostic(`${renewed} renewals`)
    assert.ok(renewed >= SEEDS, `${renewed} renewals`)
    assert.equal(await server.term(), 0)
    await run(binary, ['verify', '--data', server.data])
    await server.up()
    for (const { document, model } of ended) {
      const fresh = new Plain(server, document, 'fresh.s')
      await fresh.connect()
      assert.deepEqual(winners(fresh.doc, CONVERSATIONS), model, `${document}, after a restart`)
      fresh.disconnect()
    }
  })

  for (const name of ['y-websocket 3.1.0', '@hocuspocus/provider 4.8.0']) {
    test(`past the limit are renewed, and a device with the old history goes on: ${name}`, async (t) => {
      const server = await Server.start(t, { config: CONFIG })
      const document = `${user}/marks`
      const open = (/** @type {any} */ more = {}) => new Device(t, family(name), server, { document, ...more })
      const [old, stale] = [open(), open()]
      let now = Date.now() - 1_000_000
      /** @param {Device} device @param {number} n @param {number} seq */
      const set = (device, n, seq) => {
        const writer = device === old ? 'old.s' : device === stale ? 'stale.s' : 'new.s'
        device.doc.getMap('marks').set(`${conversation(n)}|read@${writer}`, [hlc((now += 1)), seq])
      }
      await Promise.all([old.whenSynced(), stale.whenSynced()])
      for (let n = 0; n < 40; n++) set(old, n % 4, n)
      set(stale, 0, 1)
      await Promise.all([old.whenSaved(), stale.whenSaved()])
      await until([old, stale], () => mark(stale.doc, 3)?.value === 39 && mark(old.doc, 0)?.value === 1, 'both have it')
      // It is away, with an edit that nobody has seen, while the others write past the limit.
      stale.goOffline()
      set(stale, 1, 777)
      const before = await renewals(server)
      for (let n = 40; (await renewals(server)) === before; n++) {
        set(old, n % 4, n)
        if (n % 4 === 1) now -= 1
        await old.whenSaved()
      }
      const kept = [0, 1, 2, 3].map((n) => mark(old.doc, n)?.value)
      const fresh = open()
      await fresh.whenSynced()
      assert.deepEqual([0, 1, 2, 3].map((n) => mark(fresh.doc, n)?.value), kept, 'the marks were carried over')
      assert.ok(Y.encodeStateAsUpdate(fresh.doc).length < Y.encodeStateAsUpdate(old.doc).length / 2)

      set(old, 2, 5_000)
      await old.whenSaved()
      await fresh.until(() => mark(fresh.doc, 2)?.value === 5_000, 'the old client goes on')
      set(stale, 0, 888)
      set(stale, 3, 999)
      await server.restart()
      stale.goOnline()
      const all = () => [old, stale, fresh].every((device) => mark(device.doc, 0)?.value === 888 && mark(device.doc, 3)?.value === 999)
      await until([old, stale, fresh], all, 'what was set offline is seen by all')
      await Promise.all([old, stale, fresh].map((device) => device.whenSaved()))
      set(stale, 0, 6_000)
      await until([old, fresh], () => [old, fresh].every((device) => mark(device.doc, 0)?.value === 6_000), 'and what it sets now')
      await stale.whenSaved()
      await server.restart()
      const last = open()
      await last.whenSynced()
      assert.deepEqual([0, 2, 3].map((n) => mark(last.doc, n)?.value), [6_000, 5_000, 999])
      assert.equal(await server.term(), 0)
      const { stdout } = await run(binary, ['verify', '--data', server.data])
      t.diagnostic(stdout.trim())
    })
  }
})
