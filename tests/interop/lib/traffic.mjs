// @ts-check
/** Random honest traffic: devices with real Yjs 13 documents that edit everything it has, lose, merge and repeat. */

import * as Y from 'yjs'

/** A small generator of random numbers (mulberry32), so that a seed says everything. */
export class Random {
  /** @param {number} seed */
  constructor(seed) {
    this.state = seed >>> 0
  }

  /** From 0 to 1. */
  real() {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let mixed = this.state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }

  /** A whole number below `end`. @param {number} end */
  below(end) {
    return Math.floor(this.real() * end)
  }

  /** True once in `times`. @param {number} times */
  once(times) {
    return this.below(times) === 0
  }

  /** @template T @param {readonly T[]} choices @returns {T} */
  pick(choices) {
    return choices[this.below(choices.length)]
  }

  /** @template T @param {T[]} list @returns {T[]} */
  shuffle(list) {
    for (let at = list.length - 1; at > 0; at--) {
      const other = this.below(at + 1)
      ;[list[at], list[other]] = [list[other], list[at]]
    }
    return list
  }
}

/** What came from others: such updates are not sent again. */
const REMOTE = 'remote'
/** What the undo manager takes back. */
const PERSON = 'person'

/**
 * Whole pairs, second halves of pairs, and characters of one to four bytes. A lone first half is left out: wherever Yjs
 * cuts after it, on the device that wrote it, it also replaces what comes next, and that device differs from all others.
 */
const WORDS = ['a', 'hello ', 'x\u{1f642}y', '\u{1f469}\u{200d}\u{1f680}', 'ü', '\ufffd', '\n', '0123456789', '女', '\ude42', '\0']
const KEYS = ['a', 'b', 'c', 'ключ']

/** One device: a document, what it has not sent, and what it knows of the server. */
export class Device {
  /** @param {Random} random @param {Uint8Array} [state] what it finds in its own store */
  constructor(random, state) {
    this.random = random
    this.doc = new Y.Doc({ gc: !random.once(4) })
    this.doc.clientID = random.below(2 ** 32)
    /** @type {Uint8Array[]} */
    this.outbox = []
    /** @type {Uint8Array[]} every update that it made */
    this.made = []
    /** What the server had some time ago. */
    this.stale = Uint8Array.of(0)
    const { doc } = this
    this.roots = [doc.getText('t'), doc.getText('rich'), doc.getMap('m'), doc.getArray('l'), doc.getXmlFragment('x')]
    if (state !== undefined) Y.applyUpdate(doc, state, REMOTE)
    doc.on('update', (/** @type {Uint8Array} */ update, /** @type {unknown} */ origin) => {
      if (origin === REMOTE) return
      this.outbox.push(update)
      this.made.push(update)
    })
    this.undo = random.once(2)
      ? new Y.UndoManager(this.roots, { trackedOrigins: new Set([PERSON]), captureTimeout: random.pick([0, 1e9]) })
      : null
  }

  /** @param {Uint8Array} update */
  receive(update) {
    Y.applyUpdate(this.doc, update, REMOTE)
  }

  /** One transaction of a person, or a step back. */
  edit() {
    const { random, undo } = this
    if (undo !== null && random.once(6)) {
      random.once(3) ? undo.redo() : undo.undo()
      return
    }
    if (undo !== null && random.once(6)) undo.stopCapturing()
    this.doc.transact(() => {
      for (let edits = 1 + random.below(4); edits > 0; edits--) editAny(random.pick(this.roots), random, 0)
    }, PERSON)
  }

  /** Everything anyone can see of the document, and no more. */
  content() {
    return this.roots.map(root => show(root))
  }
}

/** @param {unknown} type @param {Random} random @param {number} depth */
function editAny(type, random, depth) {
  if (type instanceof Y.XmlElement || type instanceof Y.XmlFragment) editXml(type, random, depth)
  else if (type instanceof Y.Text) editText(type, random, depth)
  else if (type instanceof Y.Map) editMap(type, random, depth)
  else if (type instanceof Y.Array) editArray(type, random, depth)
}

/** @param {Y.Text} text @param {Random} random @param {number} depth */
function editText(text, random, depth) {
  const { length } = text
  const at = random.below(length + 1)
  const some = 1 + random.below(Math.max(1, Math.min(length - at, 20)))
  const what = random.below(14)
  if (what < 5 || length === 0) text.insert(at, random.pick(WORDS))
  else if (what === 5) text.insert(at, random.pick(WORDS), attributes(random))
  else if (what === 6) text.insertEmbed(at, json(random), random.once(2) ? attributes(random) : {})
  else if (what === 7) text.insertEmbed(at, nested(random, depth))
  else if (what === 8) text.applyDelta([{ retain: at }, { insert: random.pick(WORDS), attributes: attributes(random) }])
  else if (at === length) text.insert(at, random.pick(WORDS))
  else if (what < 11) text.format(at, some, attributes(random))
  else if (what === 11 && random.once(8)) text.delete(0, length)
  else text.delete(at, Math.min(some, length - at))
}

/** @param {Y.Map<unknown>} map @param {Random} random @param {number} depth */
function editMap(map, random, depth) {
  const key = random.pick(KEYS)
  const what = random.below(10)
  if (what < 3) map.set(key, value(random))
  else if (what === 3) map.delete(key)
  else if (what === 4 && random.once(4)) map.clear()
  else if (what < 7 && depth < 5) map.set(key, nested(random, depth))
  else if (map.get(key) instanceof Y.AbstractType) editAny(map.get(key), random, depth + 1)
  else map.set(key, value(random))
}

/** @param {Y.Array<unknown>} list @param {Random} random @param {number} depth */
function editArray(list, random, depth) {
  const { length } = list
  const at = random.below(length + 1)
  const what = random.below(12)
  if (what < 4 || length === 0) list.insert(at, Array.from({ length: 1 + random.below(3) }, () => item(random)))
  else if (what < 6 && depth < 5) list.insert(at, [nested(random, depth)])
  else if (at === length) list.push([item(random)])
  else if (what < 9) list.delete(at, 1 + random.below(Math.min(length - at, 4)))
  else if (what === 9 && random.once(8)) list.delete(0, length)
  else editAny(list.get(at), random, depth + 1)
}

/** @param {Y.XmlFragment} xml @param {Random} random @param {number} depth */
function editXml(xml, random, depth) {
  const { length } = xml
  const at = random.below(length + 1)
  const what = random.below(10)
  if (xml instanceof Y.XmlElement && what === 0) xml.setAttribute(random.pick(KEYS), random.pick(WORDS))
  else if (xml instanceof Y.XmlElement && what === 1) xml.removeAttribute(random.pick(KEYS))
  else if (what < 4 || length === 0) {
    const text = new Y.XmlText(random.pick(WORDS))
    const element = new Y.XmlElement(random.pick(['p', 'h1', 'img']))
    xml.insert(at, random.once(2) || depth >= 5 ? [text] : [element])
  } else if (at < length && what < 6) xml.delete(at, 1 + random.below(Math.min(length - at, 3)))
  else if (at < length) editAny(xml.get(at), random, depth + 1)
}

/** A shared type with something in it. @param {Random} random @param {number} depth */
function nested(random, depth) {
  const type = random.pick([() => new Y.Text('nested'), () => new Y.Map([['in', value(random)]]), () => Y.Array.from([item(random)]), () => new Y.XmlElement('div'), () => new Y.XmlText('xml')])()
  if (type instanceof Y.Map && depth < 4 && random.once(2)) type.set('deep', new Y.Map())
  return type
}

/** Anything that may be an entry of a map. @param {Random} random @returns {any} */
function value(random) {
  return random.pick([
    () => null,
    () => undefined,
    () => random.once(2),
    () => random.below(1000) - 500,
    () => random.pick([2 ** 31, -(2 ** 31), 2 ** 53 - 1, 1e300, 0.1, 0.5, -1.5, Infinity, NaN]),
    // Not those that a float holds exactly: yrs writes them as floats.
    () => random.pick([2n ** 60n + 1n, 1n - 2n ** 63n]),
    () => random.pick(WORDS),
    () => Uint8Array.from({ length: random.below(5) }, () => random.below(256)),
    () => [1, ['x', null], {}],
    () => ({ k: { ü: random.real() }, b: new Uint8Array([1]) }),
  ])()
}

/** Anything that may be an element of an array. @param {Random} random @returns {any} */
function item(random) {
  const any = value(random) ?? null
  return typeof any === 'bigint' ? [any] : any
}

/** @param {Random} random @returns {any} */
function json(random) {
  return random.pick([{ image: 'u"rl' }, { deep: [1, { a: null }] }, 'text', 7, true])
}

/** @param {Random} random @returns {Record<string, any>} */
function attributes(random) {
  return { [random.pick(['b', 'i', 'link'])]: random.pick([null, null, true, '#fff', { href: 'x\u{1f642}' }]) }
}

/**
 * A pair of code units that somebody's index cut in two is two U+FFFD there and whole elsewhere; a lone one is U+FFFD on
 * every device but its own. That is Yjs' own doing.
 *
 * @param {string} text
 */
function plain(text) {
  return text.replace(/[\ud800-\udfff]/g, '\ufffd')
}

/** @param {any} thing @returns {any} something to compare with `deepEqual` */
function show(thing) {
  if (typeof thing === 'string') return plain(thing)
  if (typeof thing === 'bigint') return `${thing}n`
  if (typeof thing === 'undefined') return '<undefined>'
  if (thing instanceof Uint8Array) return `<${thing.join()}>`
  if (thing instanceof Y.Text) return { [thing instanceof Y.XmlText ? 'xml' : 'text']: delta(thing) }
  if (thing instanceof Y.XmlElement) {
    return { tag: thing.nodeName, attributes: show(thing.getAttributes()), children: thing.toArray().map(show) }
  }
  if (thing instanceof Y.XmlFragment) return { children: thing.toArray().map(show) }
  if (thing instanceof Y.Map) return { map: show(Object.fromEntries(thing.entries())) }
  if (thing instanceof Y.Array) return { list: thing.toArray().map(show) }
  if (Array.isArray(thing)) return thing.map(show)
  if (thing !== null && typeof thing === 'object') {
    return Object.fromEntries(Object.keys(thing).sort().map(key => [plain(key), show(thing[key])]))
  }
  return thing
}

/** Neighbours with the same attributes as one: where they are cut is nobody's business. @param {Y.Text} text */
function delta(text) {
  /** @type {{ insert: any, attributes: any }[]} */
  const parts = []
  for (const part of text.toDelta()) {
    const next = { insert: show(part.insert), attributes: show(part.attributes ?? {}) }
    const last = parts.at(-1)
    if (
      typeof part.insert === 'string' && typeof last?.insert === 'string' &&
      JSON.stringify(last.attributes) === JSON.stringify(next.attributes)
    ) {
      last.insert += next.insert
    } else parts.push(next)
  }
  return parts
}

/** The deletions of an update or a document: `client: start-end ...`, merged. @param {{ clients: Map<number, { clock: number, len: number }[]> }} set */
export function deletions(set) {
  /** @type {Record<string, string>} */
  const all = {}
  for (const [client, ranges] of [...set.clients].sort(([a], [b]) => a - b)) {
    /** @type {[number, number][]} */
    const merged = []
    for (const { clock, len } of [...ranges].sort((a, b) => a.clock - b.clock)) {
      const last = merged.at(-1)
      if (last !== undefined && clock <= last[1]) last[1] = Math.max(last[1], clock + len)
      else merged.push([clock, clock + len])
    }
    all[client] = merged.map(range => range.join('-')).join(' ')
  }
  return all
}
