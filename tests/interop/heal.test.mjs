// @ts-check
/**
 * Unmodified Yjs clients break what was accepted: live, offline, and with the server killed in that moment. All devices,
 * a fresh one and the API hold the accepted state again; free-form documents stay free.
 */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as Y from 'yjs'
import { Household, Person, begin, hlc, indexOf, part, read, same, uuid7 } from './lib/model.mjs'
import { Server } from './lib/server.mjs'
import { until } from './lib/wait.mjs'

/** How long a healed state may take to be everywhere. */
const HEALED_MS = 1000
/** @typedef {{ messages: Y.Map<any>, root: (name: string) => Y.Map<any>, question: string, answer: string, c: string }} Scene */

/** @param {string} text */
function message(text) {
  const head = { role: 'user', parent: null, by: 'phone.x', at: hlc(1_700_000_000_000) }
  return new Y.Map(/** @type {[string, any][]} */ ([['head', head], ['parts', [{ type: 'text', text }]]]))
}

/** What a client may do to a conversation, and must not. @type {[string, (scene: Scene) => void][]} */
const crimes = [
  ['deletes a message', ({ messages, question }) => messages.delete(question)],
  ['deletes every message', ({ messages }) => [...messages.keys()].forEach((id) => messages.delete(id))],
  ['replaces a message', ({ messages, answer }) => messages.set(answer, message('Paris.'))],
  ['replaces a message by a text', ({ messages, answer }) => messages.set(answer, 'Paris.')],
  ['changes a head', ({ messages, question }) => messages.get(question).set('head', { ...messages.get(question).get('head'), role: 'system' })],
  ['deletes a head', ({ messages, question }) => messages.get(question).delete('head')],
  ['changes parts', ({ messages, answer }) => messages.get(answer).set('parts', [{ type: 'text', text: 'Paris.' }])],
  ['makes parts a map', ({ messages, answer }) => messages.get(answer).set('parts', new Y.Map([['0', new Y.Map([['head', { type: 'text', text: 'x' }]])]]))],
  ['deletes parts', ({ messages, answer }) => messages.get(answer).delete('parts')],
  ['forges an order', ({ root, question, answer }) => root('accepted').set(question, [9, answer])],
  ['forges a number of text', ({ root, answer }) => root('accepted').set(answer, 'first')],
  ['takes an order back', ({ root, answer }) => root('accepted').delete(answer)],
  ['accepts what is not there', ({ root, question }) => root('accepted').set(uuid7(), [3, question])],
  ['forges a state', ({ root, answer }) => root('state').set(answer, ['error', { error: 'no' }])],
  ['forges facts', ({ root, answer }) => root('facts').set(answer, { usage: { tokens: 0 } })],
  ['forges a run', ({ root, answer }) => root('runs').set('r1', { message: answer, state: 'running' })],
  ['changes the owner', ({ root }) => root('meta').set('owner', 'eve')],
  ['deletes what the conversation is', ({ root }) => [...root('meta').keys()].forEach((key) => root('meta').delete(key))],
  ['chooses a branch as the server', ({ root, answer }) => root('selected').set('root@server', [hlc(Date.now()), answer])],
  ['gives feedback as the server', ({ root, answer }) => root('feedback').set(`${answer}@server`, [hlc(Date.now()), { v: 1 }])],
  ['hides a message as the server', ({ root, answer }) => root('hidden').set(`${answer}@server`, [hlc(Date.now()), true])],
]

/** The same in documents of registers, where the server holds one that it made itself. @type {[string, string, string][]} */
const registers = [
  ['index', 'conversations', 'title'],
  ['profile', 'preferences', 'tone'],
  ['marks', 'marks', 'read'],
]

/** @param {Y.Doc} doc @param {{ question: string, answer: string }} turns @param {string} c @returns {Scene} */
function scene(doc, turns, c) {
  return { messages: doc.getMap('messages'), root: (name) => doc.getMap(name), ...turns, c }
}

/**
 * A crime live, offline, and with the server killed when it has just spread.
 *
 * @param {any} t
 * @param {Household} home
 * @param {string} document
 * @param {(doc: Y.Doc) => void} crime
 */
async function commit(t, home, document, crime) {
  const phone = await home.open('phone', document)
  const laptop = await home.open('laptop', document)
  const devices = [phone, laptop]
  const before = read(phone.doc)
  await until(devices, () => same(read(laptop.doc), before), 'both the same before')
  const stands = (/** @type {import('./lib/clients.mjs').Device} */ device) => () => same(read(device.doc), before)
  const differs = () => JSON.stringify(devices.map((device) => read(device.doc)))
  /** Whatever the server sent before this mark has arrived by then. @param {number} n */
  const settled = async (n) => {
    await phone.until(stands(phone), differs)
    phone.doc.getMap('mark').set('n', n)
    await laptop.until(() => laptop.doc.getMap('mark').get('n') === n, 'the mark')
    assert.deepEqual(read(laptop.doc), before)
    assert.deepEqual(read(phone.doc), before)
    const fresh = await home.open(`fresh-${n}`, document)
    assert.deepEqual(read(fresh.doc), before, 'a fresh device')
    fresh.destroy()
  }

  const heals = await home.metric('heals_total')
  const started = performance.now()
  const took = devices.map(() => 0)
  const watch = devices.map((device, at) => {
    let arrived = device === phone
    device.doc.on('update', () => (arrived = true))
    return () => device.until(() => arrived && stands(device)(), differs, { act: () => (took[at] = performance.now() - started) })
  })
  phone.doc.transact(() => crime(phone.doc))
  assert.notDeepEqual(read(phone.doc), before, 'the crime changes something')
  await Promise.all(watch.map((healed) => healed()))
  t.diagnostic(`healed after ${took.map((ms) => Math.round(ms)).join(' and ')} ms`)
  assert.ok(Math.max(...took) < HEALED_MS, `healed after ${took} ms`)
  await settled(1)
  assert.ok((await home.metric('heals_total')) > heals, 'counted')

  await part([phone])
  phone.doc.transact(() => crime(phone.doc))
  assert.notDeepEqual(read(phone.doc), before)
  phone.goOnline()
  await phone.whenSynced()
  await settled(2)

  phone.doc.transact(() => crime(phone.doc))
  /** @type {Promise<unknown>} */
  let end = Promise.resolve()
  await laptop.until(() => !stands(laptop)(), 'the crime has spread', { act: () => (end = home.server.kill()) })
  await end
  await home.server.up()
  for (const device of devices) device.goOnline()
  await settled(3)
  assert.ok(phone.network.closes.every(({ code }) => code !== 4403), 'three times is no loop')
}

describe('a client', { concurrency: 2 }, () => {
  for (const [name, crime] of crimes) {
    test(`${name}: healed`, async (t) => {
      const home = new Household(t, await Server.start(t, { open: false }))
      const turns = await begin(home)
      const c = home.conversation
      const before = await home.api(`${c}/messages?branch=all`)
      await commit(t, home, `c/${c}`, (doc) => crime(scene(doc, turns, c)))
      assert.deepEqual(await home.api(`${c}/messages?branch=all`), before, 'by HTTP')
    })
  }

  for (const [kind, root, field] of registers) {
    test(`writes under the server's name in ${kind}: healed`, async (t) => {
      const home = new Household(t, await Server.start(t, { open: false }))
      await begin(home)
      const c = home.conversation
      const document = kind === 'index' ? indexOf(c) : kind
      const key = kind === 'profile' ? field : `${c}|${field}`
      // One that the server holds by right: it came from the future.
      const device = await home.open('tablet', document)
      const person = new Person('tablet')
      person.skew = 3_600_000
      person.set(device.doc, root, key, 1)
      await device.until(() => device.doc.getMap(root).has(`${key}@server`), 'stamped by the server')
      await commit(t, home, document, (doc) => doc.getMap(root).set(`${key}@server`, [hlc(Date.now()), 7]))
      await commit(t, home, document, (doc) => doc.getMap(root).delete(`${key}@server`))
      await commit(t, home, document, (doc) => doc.getMap(root).set(`other@server`, [hlc(Date.now()), 7]))
    })
  }
})

test('free-form documents stay free', async (t) => {
  const home = new Household(t, await Server.start(t, { open: false }))
  const phone = await home.open('phone', 'notes/x')
  const laptop = await home.open('laptop', 'notes/x')
  const turns = { question: uuid7(), answer: uuid7() }
  const map = phone.doc.getMap('messages')
  for (const id of Object.values(turns)) map.set(id, message('a note'))
  phone.doc.getMap('meta').set('owner', 'ada')
  phone.doc.getMap('accepted').set(turns.answer, [1, null])
  for (const [name, crime] of crimes) {
    // What one of them deleted the next one needs.
    for (const id of Object.values(turns)) if (!(map.get(id) instanceof Y.Map)) map.set(id, message('again'))
    phone.doc.transact(() => crime(scene(phone.doc, turns, home.conversation)))
    const after = read(phone.doc)
    phone.doc.getMap('mark').set('last', name)
    await laptop.until(() => laptop.doc.getMap('mark').get('last') === name, name)
    assert.deepEqual(read(laptop.doc), after, name)
    assert.deepEqual(read(phone.doc), after, name)
  }
  await phone.whenSaved()
  await home.server.restart()
  assert.deepEqual(read((await home.open('fresh', 'notes/x')).doc), read(phone.doc))
  assert.equal(await home.metric('heals_total'), 0)
})
