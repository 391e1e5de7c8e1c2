// @ts-check
/**
 * One user's story, told by three witnesses: the HTTP API, a plain Yjs client that reads documents, and an export. What
 * they tell is in one form, so that it can be compared turn by turn.
 */

import assert from 'node:assert/strict'
import { Device, family } from './clients.mjs'
import { indexOf, registers, user, winner } from './model.mjs'
import { unzip } from './zip.mjs'

/**
 * @typedef {{ id: string, parent: string | null, role: string, hidden: boolean, parts: string[] }} Turn
 * @typedef {{ title: string | null, archived: boolean, pinned: boolean, deleted: boolean, shown: string[], turns: Turn[] }} Told
 * @typedef {Record<string, Told>} Story by conversation
 */

/** @param {any} parts @returns {string[]} */
const words = (parts) => parts.map((/** @type {any} */ part) => `${part.type}: ${part.text ?? ''}`)

/**
 * The branch that is shown: at each turn the chosen one of those that follow, else the latest.
 *
 * @param {Turn[]} turns by acceptance
 * @param {(parent: string | null) => string | undefined} chosen
 */
function branch(turns, chosen) {
  const shown = []
  for (let parent = null, next; (next = turns.filter((turn) => turn.parent === parent)).length > 0; parent = next[0].id) {
    next = [next.find((turn) => turn.id === chosen(parent)) ?? /** @type {Turn} */ (next.at(-1))]
    if (!next[0]?.hidden) shown.push(next[0].id)
  }
  return shown
}

/** Reads every page of a list. @param {import('./model.mjs').Household} home @param {string} path */
export async function all(home, path) {
  const items = []
  for (let cursor = ''; ; ) {
    const page = await home.api(`${path}${path.includes('?') ? '&' : '?'}limit=200${cursor}`)
    items.push(...page.items)
    if (page.next === null) return items
    cursor = `&after=${encodeURIComponent(page.next)}`
  }
}

/** What the API tells. @param {import('./model.mjs').Household} home @returns {Promise<Story>} */
export async function byApi(home) {
  const listed = [...(await all(home, '')), ...(await all(home, '?archived=true')), ...(await all(home, '?deleted=true'))]
  const story = /** @type {Story} */ ({})
  for (const { id, title, archived, pinned, deleted } of listed) {
    const turns = await all(home, `${id}/messages?branch=all`)
    const shown = await all(home, `${id}/messages`)
    story[id] = {
      ...{ title, archived, pinned, deleted },
      shown: shown.map((turn) => turn.id),
      turns: turns.map((turn) => ({ id: turn.id, parent: turn.parent, role: turn.role, hidden: turn.hidden, parts: words(turn.parts) })),
    }
  }
  return story
}

/**
 * What a plain Yjs client reads in the documents of these conversations, over one socket.
 *
 * @param {any} test
 * @param {import('./server.mjs').Server} server
 * @param {string[]} conversations
 * @returns {Promise<Story>}
 */
export async function byYjs(test, server, conversations) {
  const token = await server.token({ user, device: 'tablet' })
  const client = family('@hocuspocus/provider 4.8.0')
  /** @type {Device | undefined} */
  let first
  const open = async (/** @type {string} */ name) => {
    const options = { document: `${user}/${name}`, token, ...(first && { beside: first }) }
    const device = new Device(test, client, server, options)
    first ??= device
    await device.whenSynced()
    return device.doc
  }
  const indexes = new Map()
  const story = /** @type {Story} */ ({})
  for (const id of conversations) {
    const name = indexOf(id)
    if (!indexes.has(name)) indexes.set(name, (await open(name)).getMap('conversations'))
    const index = indexes.get(name)
    const doc = await open(`c/${id}`)
    const [messages, accepted, selected, hidden] = ['messages', 'accepted', 'selected', 'hidden'].map((root) => doc.getMap(root))
    const places = /** @type {[string, any][]} */ ([...accepted]).filter(([, [seq]]) => seq > 0).sort(([, [a]], [, [b]]) => a - b)
    const turns = places.map(([turn, [, parent]]) => {
      const { head, parts } = /** @type {any} */ (messages.get(turn)).toJSON()
      return { id: turn, parent, role: head.role, hidden: winner(hidden, turn) === true, parts: words(parts) }
    })
    const is = (/** @type {string} */ field) => winner(index, `${id}|${field}`) === true
    story[id] = {
      title: registers(index, `${id}|title`)[0]?.value ?? null,
      ...{ archived: is('archived'), pinned: is('pinned'), deleted: is('deleted') },
      shown: branch(turns, (parent) => winner(selected, parent ?? 'root')),
      turns,
    }
  }
  return story
}

/** What an export tells. @param {Buffer} archive @returns {Story} */
export function byExport(archive) {
  const files = unzip(archive)
  const read = (/** @type {string} */ name) => JSON.parse(String(files.get(name)))
  assert.equal(read('syncline-export.json').user, user)
  const story = /** @type {Story} */ ({})
  for (const { id, title, archived, pinned, deleted } of read('index.json').entries) {
    const { selected, messages } = read(`conversations/${id}.json`)
    const turns = messages.map((/** @type {any} */ turn) => ({
      ...{ id: turn.id, parent: turn.parent, role: turn.role, hidden: turn.hidden ?? false },
      parts: words(turn.parts),
    }))
    const chosen = new Map(selected.map((/** @type {any} */ choice) => [choice.parent ?? null, choice.child]))
    story[id] = { title, archived, pinned, deleted, shown: branch(turns, (parent) => chosen.get(parent)), turns }
  }
  return story
}

/** Compares two stories, conversation by conversation. @param {Story} told @param {Story} expected @param {string} by */
export function assertSame(told, expected, by) {
  assert.deepEqual(Object.keys(told).sort(), Object.keys(expected).sort(), by)
  for (const [id, one] of Object.entries(expected)) assert.deepEqual(told[id], one, `${id}, told by ${by}`)
}
