// @ts-check
/**
 * What real Yjs 13 writes is never refused, and the document as the server keeps it (checker, yrs, checkpoint) never
 * says anything else than Yjs. No sockets: `judge` is the server's document behind JSON lines.
 *
 * SYNCLINE_SEED says where to start, SYNCLINE_ROUNDS how many rounds to go.
 */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import * as Y from 'yjs'

import { binary } from './lib/server.mjs'
import { Device, Random, deletions } from './lib/traffic.mjs'

const program = resolve(process.env.SYNCLINE_JUDGE ?? join(dirname(binary), 'judge'))
const rounds = Number(process.env.SYNCLINE_ROUNDS ?? 3000)
const first = Number(process.env.SYNCLINE_SEED ?? Math.floor(Math.random() * 2 ** 32))
/** Rounds under way at once, so that neither side waits for the other. */
const LANES = 8

/** @param {Uint8Array} bytes */
const pack = bytes => Buffer.from(bytes).toString('base64')
/** @param {string} text */
const unpack = text => new Uint8Array(Buffer.from(text, 'base64'))

/** The other process. Requests of one document are answered in order; a failure answers all that follow. */
class Judge {
  constructor() {
    this.process = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] })
    /** @type {Map<number, { resolve: (answer: any) => void, reject: (error: Error) => void }[]>} */
    this.waiting = new Map()
    /** @type {Map<number, Error>} */
    this.failed = new Map()
    createInterface({ input: this.process.stdout }).on('line', line => this.#hear(JSON.parse(line)))
    this.process.on('exit', code => {
      for (const doc of this.waiting.keys()) this.#fail(doc, new Error(`judge ended with ${code}`))
    })
  }

  /** @param {any} answer */
  #hear(answer) {
    if (answer.error !== undefined) return this.#fail(answer.doc, new Error(`${answer.error}\n${answer.request}`))
    this.waiting.get(answer.doc)?.shift()?.resolve(answer)
  }

  /** @param {number} doc @param {Error} error */
  #fail(doc, error) {
    this.failed.set(doc, error)
    for (const { reject } of this.waiting.get(doc)?.splice(0) ?? []) reject(error)
  }

  /** @param {number} doc @param {object} request */
  tell(doc, request) {
    this.process.stdin.write(`${JSON.stringify({ doc, ...request })}\n`)
  }

  /** @param {number} doc @param {object} request @returns {Promise<any>} */
  async ask(doc, request) {
    const failure = this.failed.get(doc)
    if (failure !== undefined) throw failure
    const answer = new Promise((resolve, reject) => {
      const waiting = this.waiting.get(doc) ?? []
      waiting.push({ resolve, reject })
      this.waiting.set(doc, waiting)
    })
    this.tell(doc, request)
    return answer
  }
}

const counted = { updates: 0, bytes: 0, skips: 0 }

/** One document, from nothing to quiet. @param {Judge} judge @param {number} seed */
async function round(judge, seed) {
  const random = new Random(seed)
  const devices = Array.from({ length: 1 + random.below(4) }, () => new Device(random))
  /** @param {'update' | 'step2'} kind @param {Uint8Array} update */
  const send = (kind, update) => {
    counted.updates++
    counted.bytes += update.length
    judge.tell(seed, { [kind]: pack(update) })
  }
  /** @param {Device} device */
  const pull = async device => {
    const { diff } = await judge.ask(seed, { diff: pack(Y.encodeStateVector(device.doc)) })
    device.receive(unpack(diff))
  }
  for (let steps = 5 + random.below(40); steps > 0; steps--) {
    const at = random.below(devices.length)
    const device = devices[at]
    switch (random.below(16)) {
      case 0:
        for (const update of device.outbox.splice(0)) send('update', update)
        break
      case 1:
        // In any order, some of them twice.
        for (const update of random.shuffle(device.outbox.splice(0).flatMap(u => (random.once(4) ? [u, u] : [u])))) {
          send('update', update)
        }
        break
      case 2: {
        // Merged, with parts missing: they come with a later sync.
        const some = device.made.filter(() => !random.once(3))
        if (some.length === 0) break
        const merged = Y.mergeUpdates(random.shuffle(some))
        if (Y.decodeUpdate(merged).structs.some(struct => struct instanceof Y.Skip)) counted.skips++
        send(random.pick(['update', 'step2']), random.once(2) ? merged : Y.diffUpdate(merged, device.stale))
        break
      }
      case 3:
        send('step2', Y.encodeStateAsUpdate(device.doc, device.stale))
        break
      case 4: {
        const { vector } = await judge.ask(seed, { vector: null })
        device.stale = unpack(vector)
        break
      }
      case 5:
      case 6:
        await pull(device)
        break
      case 7: {
        // Past the server, whole or only some of it: then the other one holds what it cannot use yet, and sends it on.
        const other = random.pick(devices)
        if (random.once(2)) other.receive(Y.encodeStateAsUpdate(device.doc, Y.encodeStateVector(other.doc)))
        else random.shuffle(device.made.filter(() => random.once(2))).forEach(update => other.receive(update))
        break
      }
      case 8:
        // The app is opened again: the same state, a new client.
        if (random.once(3)) devices[at] = new Device(random, Y.encodeStateAsUpdate(device.doc))
        break
      case 9:
        if (random.once(2)) judge.tell(seed, { reload: null })
        break
      default:
        device.edit()
    }
  }
  // Everybody syncs until nobody has anything to say. Yjs clears redundant formats away after what others did.
  for (let again = true; again;) {
    for (const device of devices) {
      device.outbox.length = 0
      const { vector } = await judge.ask(seed, { vector: null })
      send('step2', Y.encodeStateAsUpdate(device.doc, unpack(vector)))
    }
    for (const device of devices) await pull(device)
    again = devices.some(device => device.outbox.length > 0)
  }
  const { vector, state, waiting } = await judge.ask(seed, { end: null })
  assert.equal(waiting, 0, 'nothing waits when everything has come')
  const fresh = new Device(random)
  fresh.receive(unpack(state))
  const ours = deletions(Y.decodeUpdate(unpack(state)).ds)
  for (const device of [...devices, fresh]) {
    assert.equal(device.doc.store.pendingStructs, null, 'nothing is missing on a device')
    assert.equal(device.doc.store.pendingDs, null, 'nothing is missing on a device')
    assert.deepEqual(Y.decodeStateVector(Y.encodeStateVector(device.doc)), Y.decodeStateVector(unpack(vector)))
    assert.deepEqual(device.content(), fresh.content())
    // Unless the fresh one has just cleared something away.
    if (device !== fresh || fresh.outbox.length === 0) {
      assert.deepEqual(deletions(Y.createDeleteSetFromStructStore(device.doc.store)), ours)
    }
  }
}

test(`${rounds} rounds of Yjs 13 traffic, from SYNCLINE_SEED=${first}`, async () => {
  assert.ok(existsSync(program), `no judge at ${program}: run \`cargo build -p syncline-tests --bin judge\``)
  const judge = new Judge()
  const begin = performance.now()
  let next = 0
  const lane = async () => {
    while (next < rounds) {
      const seed = (first + next++) >>> 0
      try {
        await round(judge, seed)
      } catch (error) {
        const again = `SYNCLINE_SEED=${seed} SYNCLINE_ROUNDS=1 node --test traffic.test.mjs`
        throw new Error(`${again}\n${error instanceof Error ? error.stack : error}`)
      }
    }
  }
  try {
    await Promise.all(Array.from({ length: LANES }, lane))
  } finally {
    judge.process.stdin.end()
  }
  const seconds = (performance.now() - begin) / 1000
  console.log(`${rounds} rounds in ${seconds.toFixed(1)} s: ${counted.updates} updates, ${counted.bytes} bytes, ${counted.skips} with a Skip`)
  if (rounds >= 100) assert.ok(counted.skips > 10 && counted.updates > 5 * rounds, 'the mix tests nothing')
})
