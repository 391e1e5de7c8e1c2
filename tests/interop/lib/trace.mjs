// @ts-check
/**
 * A recorded session of several people (josephg/editing-traces, concurrent format): every edit
 * with the edits its author had seen, and the text all must end with.
 *
 * Edits are numbered per author. A `Version` says how many edits of each author are in it; every
 * author's edits follow one another, so that is all there is to say.
 */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'

const home = fileURLToPath(new URL('../../../', import.meta.url))

/** Where the data lies: beside the project, or where `SYNCLINE_DATA` says. */
export const traceFile = join(process.env.SYNCLINE_DATA ?? join(home, '../shared/data'), 'friendsforever.json.gz')

export const haveTrace = existsSync(traceFile)

/** @typedef {number[]} Version edits of each author */
/** @typedef {{ author: number, needs: Version, patches: [number, number, string][] }} Edit */
/** @typedef {{ edits: Edit[][], total: number, end: string }} Trace edits per author, in order */

/** @returns {Trace} */
export function loadTrace() {
  const { kind, numAgents, endContent, txns } = JSON.parse(gunzipSync(readFileSync(traceFile)).toString())
  if (kind !== 'concurrent') throw new Error(`${traceFile} is not a concurrent trace`)
  /** @type {Version[]} */
  const versions = []
  /** @type {Edit[][]} */
  const edits = Array.from({ length: numAgents }, () => [])
  for (const { parents, agent, patches } of txns) {
    const needs = edits.map((_, author) => Math.max(0, ...parents.map((/** @type {number} */ at) => versions[at]?.[author])))
    if (needs[agent] !== edits[agent]?.length) throw new Error('an author has edits that do not follow one another')
    edits[agent]?.push({ author: agent, needs, patches })
    versions.push(needs.map((count, author) => (author === agent ? count + 1 : count)))
  }
  return { edits, total: txns.length, end: endContent }
}

/**
 * Versions at which two authors may hold the same: nothing that is next was made without knowing
 * all of it. There the devices may sync freely without seeing more than their person had.
 *
 * @param {Trace} trace
 * @returns {Version[]}
 */
export function meetings({ edits: [first = [], second = []] }) {
  const found = []
  for (let a = 0; a <= first.length; a += 1) {
    const b = first[a]?.needs[1] ?? second.length
    if ((second[b]?.needs[0] ?? first.length) >= a) found.push([a, b])
  }
  return found
}

/**
 * Spans between two meetings in which neither author saw anything of the other: both can be
 * offline for all of it. The longest first.
 *
 * @param {Trace} trace
 * @returns {{ from: Version, to: Version }[]}
 */
export function apart(trace) {
  const all = meetings(trace)
  const spans = []
  for (let i = 1; i < all.length; i += 1) {
    const [from, to] = [all[i - 1], all[i]]
    if (!from || !to) continue
    const blind = trace.edits.every((list, author) =>
      list.slice(from[author], to[author]).every(({ needs }) => needs.every((count, other) => other === author || count === from[other])),
    )
    const least = Math.min(...to.map((count, author) => count - /** @type {number} */ (from[author])))
    if (blind && least > 0) spans.push({ from, to, least })
  }
  return spans.sort((x, y) => y.least - x.least)
}
