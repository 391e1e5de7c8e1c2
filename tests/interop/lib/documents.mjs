// @ts-check
/** One way to edit and compare documents of Yjs 13 and of Yjs 14. */

import * as Y14 from '@y/y'
import * as Y13 from 'yjs'

/**
 * @typedef {object} Text
 * @property {(at: number, text: string) => void} insert
 * @property {(at: number, length: number) => void} delete
 * @property {() => string} toString
 *
 * @typedef {object} Keys
 * @property {(key: string, value: any) => void} set
 * @property {(key: string) => any} get
 * @property {(key: string) => void} delete
 *
 * @typedef {object} Yjs
 * @property {() => any} create
 * @property {(doc: any, name: string) => Text} text
 * @property {(doc: any, name: string) => Keys} keys
 * @property {(doc: any, update: Uint8Array, origin?: any) => void} apply
 * @property {(doc: any, stateVector?: Uint8Array) => Uint8Array} encode
 */

/** @type {Yjs} */
export const yjs13 = {
  create: () => new Y13.Doc(),
  text: (doc, name) => doc.getText(name),
  keys: (doc, name) => doc.getMap(name),
  apply: Y13.applyUpdate,
  encode: Y13.encodeStateAsUpdate,
}

/** @type {Yjs} */
export const yjs14 = {
  create: () => new Y14.Doc(),
  text: (doc, name) => doc.get(name),
  keys: (doc, name) => {
    const type = doc.get(name)
    return {
      set: (key, value) => type.setAttr(key, value),
      get: (key) => type.getAttr(key),
      delete: (key) => type.deleteAttr(key),
    }
  },
  apply: Y14.applyUpdate,
  encode: Y14.encodeStateAsUpdate,
}

/**
 * The ids an update inserts and deletes: what y-websocket's sync status counts with.
 *
 * @param {Uint8Array} update
 */
export const idsOf = (update) => Y14.createContentIdsFromUpdate(update)

/** @param {any[]} ids */
export const mergeIds = (ids) => Y14.mergeContentIds(ids)

/**
 * What of `ids` is not among `others`.
 *
 * @param {any} ids
 * @param {any} others
 */
export const withoutIds = (ids, others) => Y14.excludeContentIds(ids, others)

/** @param {any} ids @returns {boolean} */
export const noIds = (ids) => ids.inserts.isEmpty() && ids.deletes.isEmpty()

/**
 * A text that is equal exactly when two replicas hold the same structs and the same deletions.
 *
 * @param {Uint8Array} state a full update of either version
 * @returns {string}
 */
export function fingerprint(state) {
  const { inserts, deletes } = idsOf(state)
  const ranges = (/** @type {any} */ set) =>
    [...set.clients.entries()]
      .sort(([a], [b]) => a - b)
      .map(([client, range]) => `${client}:${range.getIds().map((/** @type {any} */ id) => `${id.clock}+${id.len}`)}`)
      .join(' ')
  return `inserts ${ranges(inserts)} | deletes ${ranges(deletes)}`
}
