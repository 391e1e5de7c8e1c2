// @ts-check
/** The data model as a plain Yjs client sees it: what the tests write and read in documents, and the HTTP API beside it. */

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import * as Y from 'yjs'
import { Device, family } from './clients.mjs'
import { until } from './wait.mjs'

/** The user of all these tests. */
export const user = 'ada'
/** The root maps that have a meaning. */
const ROOTS = [
  ...['meta', 'messages', 'accepted', 'state', 'facts', 'runs', 'control', 'selected', 'feedback', 'hidden'],
  ...['conversations', 'preferences', 'marks', 'drafts'],
]

/** @param {number} [ms] a UUIDv7 made at that time */
export function uuid7(ms = Date.now()) {
  const time = ms.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`
}

/** @param {number} ms @param {number} [count] */
export function hlc(ms, count = 0) {
  return `${String(ms).padStart(13, '0')}-${count.toString(16).padStart(4, '0')}`
}

/** The index that a conversation stands in. @param {string} conversation */
export function indexOf(conversation) {
  const made = new Date(parseInt(conversation.replace('-', '').slice(0, 12), 16))
  return `index/${made.getUTCFullYear()}-q${Math.floor(made.getUTCMonth() / 3) + 1}`
}

/**
 * All values of one register, the winner first.
 *
 * @param {Y.Map<any>} map
 * @param {string} field
 * @param {(meta: any) => number} [rank]
 */
export function registers(map, field, rank = () => 0) {
  const all = [...map].filter(([key]) => key.slice(0, key.lastIndexOf('@')) === field)
  const entries = all.map(([key, [time, value, meta]]) => ({ writer: key.slice(key.lastIndexOf('@') + 1), time, value, meta }))
  const larger = (/** @type {any} */ a, /** @type {any} */ b) => (a > b ? -1 : a < b ? 1 : 0)
  return entries.sort((a, b) => rank(b.meta) - rank(a.meta) || larger(a.time, b.time) || larger(a.writer, b.writer))
}

/** The value of a register that counts. @param {Y.Map<any>} map @param {string} field */
export const winner = (map, field) => registers(map, field)[0]?.value

const SOURCES = ['default', 'inferred', 'imported', 'explicit']

/**
 * A preference as it stands: the strongest value by source, then time, that nothing stronger took back.
 *
 * @param {Y.Doc} doc
 * @param {string} name
 */
export function preference(doc, name) {
  let takenBack = ''
  let blocked = false
  for (const entry of registers(doc.getMap('preferences'), name, (meta) => SOURCES.indexOf(meta?.source))) {
    const source = entry.meta?.source ?? 'default'
    if ((source !== 'default' && entry.time <= takenBack) || (blocked && source === 'inferred')) continue
    const op = entry.meta?.op ?? 'set'
    if (op === 'set') return { value: entry.value, source, blocked }
    if (op === 'clear' || op === 'block') takenBack = [takenBack, entry.time].sort()[1]
    blocked ||= op === 'block' && source === 'explicit'
  }
  return { value: null, source: null, blocked }
}

/**
 * What a device does to documents: a person at a Yjs client whose clock may be wrong.
 */
export class Person {
  /** Milliseconds that this device's clock is wrong by. */
  skew = 0
  #count = 0

  /** @param {string} device */
  constructor(device) {
    this.writer = `${device}.${randomUUID().slice(0, 8)}`
  }

  /** The next time of this writer. */
  time() {
    return hlc(Date.now() + this.skew, (this.#count += 1))
  }

  /**
   * Sets a register.
   *
   * @param {Y.Doc} doc
   * @param {string} root
   * @param {string} field
   * @param {any} value
   * @param {{ meta?: any, at?: string, writer?: string }} [more]
   */
  set(doc, root, field, value, { meta, at = this.time(), writer = this.writer } = {}) {
    doc.getMap(root).set(`${field}@${writer}`, meta === undefined ? [at, value] : [at, value, meta])
  }

  /**
   * Sends a message; gives its id.
   *
   * @param {Y.Doc} doc
   * @param {string} text
   * @param {{ id?: string, role?: string, parent?: string | null, alt?: string | true, req?: string, at?: string }} [more]
   */
  say(doc, text, { id = uuid7(Date.now() + this.skew), role = 'user', parent = null, alt, req, at = this.time() } = {}) {
    const head = { role, parent, by: this.writer, at, ...(alt && { alt }), ...(req && { req }) }
    /** @type {Y.Map<any>} */
    const message = new Y.Map()
    message.set('head', head)
    message.set('parts', [{ type: 'text', text }])
    if (!doc.getMap('messages').has(id)) doc.getMap('messages').set(id, message)
    return id
  }
}

/** The accepted messages by number, and what is pending. @param {Y.Doc} doc */
export function order(doc) {
  const accepted = doc.getMap('accepted')
  const places = /** @type {[string, any][]} */ ([...accepted])
  const placed = places.filter(([, [seq]]) => seq > 0).sort(([, [a]], [, [b]]) => a - b)
  const pending = [...doc.getMap('messages').keys()].filter((id) => !accepted.has(id))
  return { seq: placed.map(([id]) => id), after: Object.fromEntries(placed.map(([id, [, after]]) => [id, after])), pending }
}

/** All that has a meaning in a document, as JSON. @param {Y.Doc} doc */
export const read = (doc) => Object.fromEntries(ROOTS.map((root) => [root, doc.getMap(root).toJSON()]))

/** @param {any} a @param {any} b */
export function same(a, b) {
  try {
    assert.deepStrictEqual(a, b)
    return true
  } catch {
    return false
  }
}

/** Waits until all documents hold the same. @param {Device[]} devices */
export async function equal(devices) {
  const [first, ...rest] = devices
  const holds = () => rest.every((device) => same(read(device.doc), read(first?.doc)))
  await until(devices, holds, () => `all the same: ${JSON.stringify(devices.map((device) => read(device.doc)), null, 1)}`)
}

/** The devices of one user, with a token each, and the API. */
export class Household {
  /** @type {Map<string, string>} */
  #tokens = new Map()

  /** @param {any} test @param {import('./server.mjs').Server} server */
  constructor(test, server) {
    this.test = test
    this.server = server
    this.conversation = uuid7()
  }

  /** @param {string} device */
  async #token(device) {
    const token = this.#tokens.get(device) ?? (await this.server.token({ user, device }))
    this.#tokens.set(device, token)
    return token
  }

  /** Connects a device to a document. @param {string} device @param {string} document @param {string} client */
  async open(device, document, client = device === 'phone' ? 'y-websocket 3.1.0' : '@hocuspocus/provider 4.8.0') {
    const options = { document: `${user}/${document}`, token: await this.#token(device) }
    const opened = new Device(this.test, family(client), this.server, options)
    await opened.whenSynced()
    return opened
  }

  /** Asks the API about the conversation. @param {string} path @param {string} [method] @param {any} [body] */
  async api(path, method = 'GET', body) {
    const response = await fetch(`http://${this.server.address}/v1/users/${user}/conversations${/^(\?|$)/.test(path) ? '' : '/'}${path}`, {
      method,
      headers: { authorization: `Bearer ${await this.#token('browser')}`, 'content-type': 'application/json' },
      ...(body && { body: JSON.stringify(body) }),
    })
    const answer = await response.json()
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${JSON.stringify(answer)}`)
    return answer
  }

  /** The texts of a branch, by HTTP. @param {'selected' | 'all'} [branch] @returns {Promise<string[]>} */
  async texts(branch = 'selected') {
    const { items } = await this.api(`${this.conversation}/messages?branch=${branch}&limit=200`)
    return items.map((/** @type {any} */ turn) => turn.parts[0].text)
  }

  /** A counter of the server. @param {string} name */
  async metric(name) {
    const text = await (await fetch(`http://${this.server.address}/metrics`)).text()
    return Number(new RegExp(`^syncline_${name} (\\S+)$`, 'm').exec(text)?.[1])
  }
}

/** Loses the network, and waits until the client knows. @param {Device[]} devices */
export async function part(devices) {
  for (const device of devices) device.goOffline()
  await Promise.all(devices.map((device) => device.until(() => !device.synced && device.network.open === 0, 'offline')))
}

/** Finds the network again, and waits until what was written offline is saved. @param {Device} device */
export async function rejoin(device) {
  device.goOnline()
  await device.whenSaved()
}

/** Waits until a message has its place. @param {Device} device @param {string[]} ids */
export async function accepted(device, ...ids) {
  const map = device.doc.getMap('accepted')
  await device.until(() => ids.every((id) => map.has(id)), () => `accepted: ${JSON.stringify(map.toJSON())}, awaited ${ids}`)
}

/** Makes a conversation by HTTP, with two turns. @param {Household} home */
export async function begin(home) {
  const c = home.conversation
  await home.api('', 'POST', { id: c })
  const turn = (/** @type {string} */ role, /** @type {string} */ text) =>
    home.api(`${c}/messages`, 'POST', { role, parts: [{ type: 'text', text }] })
  const question = (await turn('user', 'Where to?')).id
  return { question, answer: (await turn('assistant', 'Rome.')).id }
}
