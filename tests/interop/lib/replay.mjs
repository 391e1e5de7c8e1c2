// @ts-check
/**
 * Replays a recorded session with real clients: each author is a device of another family, and an
 * edit is made only on a device that holds exactly what its author had seen, all of it received
 * through the server. What arrives too soon is held back on the wire. Devices drop out and the
 * server is killed on the way.
 */

import assert from 'node:assert/strict'
import { converge, Device, family } from './clients.mjs'
import { fingerprint, idsOf, mergeIds, noIds, withoutIds } from './documents.mjs'
import { apart, loadTrace, meetings } from './trace.mjs'
import { until } from './wait.mjs'
import { parse } from './wire.mjs'

const DOCUMENT = 'friends/forever'

/** @typedef {import('./trace.mjs').Version} Version */
/** @typedef {'server killed' | 'first device offline' | 'both devices offline' | 'offline and server killed'} Trouble */

/** One person: a device, and how much of the other's work it was given. */
class Author {
  /** Updates of this author's edits, in order. @type {Uint8Array[]} */
  made = []
  /** How many edits of the other are in this replica. */
  held = 0

  /** @param {Device} device @param {number} index */
  constructor(device, index) {
    this.device = device
    this.index = index
    /** @type {Uint8Array | null} */
    this.update = null
    device.doc.on('update', (/** @type {Uint8Array} */ update, /** @type {any} */ origin) => {
      if (origin === this) this.update = update
    })
  }

  /** @param {import('./trace.mjs').Edit} edit */
  make({ patches }) {
    const { device } = this
    const text = device.text
    device.doc.transact(() => {
      for (const [at, remove, insert] of patches) {
        if (remove > 0) text.delete(at, remove)
        if (insert !== '') text.insert(at, insert)
      }
    }, this)
    if (!this.update) throw new Error('an edit changed nothing')
    this.made.push(this.update)
    this.update = null
  }

  /**
   * Lets frames through until exactly `count` edits of the other are in.
   *
   * @param {Author} other
   * @param {number} count
   */
  async receive(other, count) {
    const { network, family: kind } = this.device
    while (this.held < count) {
      await this.device.until(() => network.next, () => `edit ${this.held} of author ${other.index} (of ${count}) arrives`, { ms: 30_000 })
      const frame = /** @type {Uint8Array} */ (network.next)
      const { kind: type, bytes } = parse(frame, kind.dialect === 'hocuspocus' ? 'hocuspocus' : 'plain')
      if (bytes && (type === 'update' || type === 'step2')) this.held += this.#counts(bytes, other, count)
      network.release()
    }
  }

  /**
   * How many of the other's next edits an update brings. Most often it is the very next one;
   * after a rejoin it may be one that came by another way already, or several in one.
   *
   * @param {Uint8Array} update
   * @param {Author} other
   * @param {number} limit
   */
  #counts(update, other, limit) {
    const next = other.made[this.held]
    if (next && Buffer.compare(next, update) === 0) return 1
    let left = withoutIds(idsOf(update), idsOf(this.device.state()))
    for (let more = 0; this.held + more <= limit; more += 1) {
      if (noIds(left)) return more
      const made = other.made[this.held + more]
      if (!made) break
      left = withoutIds(left, idsOf(made))
    }
    throw new Error(`the server brought author ${this.index} more than was asked for after edit ${this.held} of the other`)
  }
}

/**
 * @param {{ after: (fn: () => unknown) => void }} test
 * @param {import('./server.mjs').Server} server
 * @param {{ families?: [string, string, string], kills?: number, limit?: number, say?: (line: string) => void }} [options]
 */
export async function replay(test, server, options = {}) {
  const { families = ['@hocuspocus/provider 4.8.0', 'y-websocket 3.1.0', '@y-sweet/client 0.9.1'], kills = 8, say = () => {} } = options
  const trace = loadTrace()
  const open = (/** @type {string} */ name, /** @type {any} */ doc = undefined) => new Device(test, family(name), server, { document: DOCUMENT, doc })
  // Where both typed at one place at once, Yjs puts the smaller client id first, and the recorded end has the
  // first author there.
  const authors = families.slice(0, 2).map((name, index) => {
    const doc = family(name).yjs.create()
    doc.clientID = index + 1
    return new Author(open(name, doc), index)
  })
  const [first, second] = /** @type {[Author, Author]} */ (authors)
  const devices = [first.device, second.device]
  await Promise.all(devices.map((device) => device.whenSynced()))

  const troubles = plan(trace, kills)
  const started = Date.now()
  let done = 0
  for (const device of devices) device.network.hold(true)
  for (const { from, to, trouble } of troubles) {
    await play(trace, first, second, from)
    done = from[0] + from[1]
    say(`${String(Math.round((Date.now() - started) / 1000)).padStart(4)} s  ${done} of ${trace.total} edits: ${trouble ?? 'done'}`)
    if (trouble) await suffer(server, trace, first, second, trouble, to)
  }

  for (const device of devices) device.network.hold(false)
  const fresh = open(families[2])
  await fresh.whenSynced()
  await converge([...devices, fresh])
  await Promise.all(devices.map((device) => device.whenSaved()))
  await server.kill()
  const onDisk = await server.onDisk(DOCUMENT)
  const ends = {
    [families[0]]: first.device.text.toString(),
    [families[1]]: second.device.text.toString(),
    [`fresh ${families[2]}`]: fresh.text.toString(),
    disk: onDisk.content.text,
  }
  for (const [who, text] of Object.entries(ends)) assert.ok(text === trace.end, `${who} ends with another text`)
  assert.equal(fingerprint(first.device.state()), fingerprint(second.device.state()))
  assert.equal(fingerprint(first.device.state()), fingerprint(fresh.state()))
  return { edits: trace.total, troubles: troubles.length - 1, seconds: (Date.now() - started) / 1000 }
}

/**
 * Makes every edit up to a meeting, in an order that keeps each behind what it needs.
 *
 * @param {import('./trace.mjs').Trace} trace
 * @param {Author} first
 * @param {Author} second
 * @param {Version} goal
 * @param {boolean} [alone] the devices hear nothing of each other
 */
async function play(trace, first, second, goal, alone = false) {
  const pairs = /** @type {[Author, Author][]} */ ([[first, second], [second, first]])
  for (let turn = 0, stuck = 0; stuck < 2; turn += 1) {
    const [author, other] = /** @type {[Author, Author]} */ (pairs[turn % 2])
    stuck += 1
    for (let edit = next(); edit; edit = next()) {
      if (!alone) await author.receive(other, /** @type {number} */ (edit.needs[other.index]))
      assert.equal(author.held, edit.needs[other.index], 'a device holds exactly what its person had seen')
      author.make(edit)
      stuck = 0
      if (author.made.length % 32 === 0) await new Promise((done) => setImmediate(done))
    }

    function next() {
      const edit = trace.edits[author.index]?.[author.made.length]
      const due = author.made.length < /** @type {number} */ (goal[author.index])
      return edit && due && /** @type {number} */ (edit.needs[other.index]) <= other.made.length ? edit : null
    }
  }
}

/**
 * At a meeting: something fails, the devices come back, and both must hold all that was made.
 *
 * @param {import('./server.mjs').Server} server
 * @param {import('./trace.mjs').Trace} trace
 * @param {Author} first
 * @param {Author} second
 * @param {Trouble} trouble
 * @param {Version} to the meeting where it ends
 */
async function suffer(server, trace, first, second, trouble, to) {
  const devices = [first.device, second.device]
  if (trouble === 'server killed') {
    // In the middle of things: what was just typed may be on no disk and on no other device yet.
    await server.kill()
    await server.up()
  } else {
    await settle(first, second)
    const gone = trouble === 'first device offline' ? [first.device] : devices
    for (const device of gone) device.goOffline()
    const noticed = () => gone.every((device) => !device.synced)
    await until(gone, noticed, 'the devices notice that they are offline')
    await play(trace, first, second, to, true)
    if (trouble === 'offline and server killed') {
      await server.kill()
      await server.up()
    }
    for (const device of gone) device.goOnline()
  }
  await settle(first, second)
  for (const device of devices) device.network.hold(true)
}

/** Lets everything flow until both replicas hold all edits made so far. @param {Author} first @param {Author} second */
async function settle(first, second) {
  const devices = [first.device, second.device]
  for (const device of devices) device.network.hold(false)
  const all = mergeIds([...first.made, ...second.made].slice(-4_000).map(idsOf))
  const complete = (/** @type {Device} */ device) =>
    device.text.toString().length === devices[0]?.text.toString().length && noIds(withoutIds(all, idsOf(device.state())))
  await until(devices, () => devices.every(complete), 'both devices hold all edits again', { ms: 60_000 })
  first.held = second.made.length
  second.held = first.made.length
}

/**
 * Where things go wrong: in every span in which both typed unseen by the other, and the server is
 * killed at meetings spread over the rest.
 *
 * @param {import('./trace.mjs').Trace} trace
 * @param {number} kills
 * @returns {{ from: Version, to: Version, trouble: Trouble | null }[]}
 */
function plan(trace, kills) {
  const spans = apart(trace)
  const ways = /** @type {Trouble[]} */ (['both devices offline', 'offline and server killed', 'first device offline'])
  const offline = spans.map((span, i) => ({ ...span, trouble: /** @type {Trouble} */ (ways[i % ways.length]) }))
  const all = meetings(trace)
  const inSpan = (/** @type {Version} */ at) => spans.some(({ from, to }) => at.every((n, i) => n >= /** @type {number} */ (from[i]) && n <= /** @type {number} */ (to[i])))
  const crashes = Array.from({ length: kills }, (_, i) => {
    const wanted = (trace.total * (i + 1)) / (kills + 1)
    const at = all.find((version) => version[0] + version[1] >= wanted && !inSpan(version)) ?? all[0]
    return { from: at, to: at, trouble: /** @type {Trouble} */ ('server killed') }
  })
  const end = trace.edits.map((list) => list.length)
  const size = (/** @type {{ from: Version }} */ { from }) => from.reduce((sum, n) => sum + n, 0)
  // @ts-ignore a meeting is a pair
  return [...offline, ...crashes, { from: end, to: end, trouble: null }].sort((x, y) => size(x) - size(y))
}
