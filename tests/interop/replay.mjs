// @ts-check
/** `node replay.mjs [FAMILY FAMILY [FAMILY]]`: replays the recorded session and prints its progress. */

import { families } from './lib/clients.mjs'
import { replay } from './lib/replay.mjs'
import { Server } from './lib/server.mjs'
import { haveTrace, traceFile } from './lib/trace.mjs'

if (!haveTrace) {
  console.error(`no data at ${traceFile}: set SYNCLINE_DATA to the folder that holds friendsforever.json.gz`)
  process.exit(2)
}
const [first = '@hocuspocus/provider 4.8.0', second = 'y-websocket 3.1.0', third = '@y-sweet/client 0.9.1'] = process.argv.slice(2)
/** @type {(() => unknown)[]} */
const cleanups = []
const scope = { after: (/** @type {() => unknown} */ fn) => cleanups.unshift(fn) }
let failed = 0
try {
  console.log(`${first} and ${second} type, ${third} joins at the end (there are ${families.map((kind) => kind.name).join(', ')})`)
  const server = await Server.start(scope)
  const { edits, troubles, seconds } = await replay(scope, server, { families: [first, second, third], say: console.log })
  console.log(`${edits} edits and ${troubles} failures in ${seconds.toFixed(1)} s: both devices, a fresh one and the disk hold exactly the recorded text`)
} catch (error) {
  console.error(error)
  failed = 1
}
for (const cleanup of cleanups) await cleanup()
process.exit(failed)
