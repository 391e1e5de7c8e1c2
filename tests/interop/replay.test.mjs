// @ts-check
/** The main job on real input: two people's recorded session, through crashes and lost networks. */

import { test } from 'node:test'
import { replay } from './lib/replay.mjs'
import { Server } from './lib/server.mjs'
import { haveTrace, traceFile } from './lib/trace.mjs'

const skip = haveTrace ? false : `no data at ${traceFile} (set SYNCLINE_DATA)`

test('26,078 keystrokes of two people end as recorded on both devices, a fresh one and the disk', { skip, timeout: 600_000 }, async (t) => {
  const server = await Server.start(t)
  await replay(t, server, { say: (line) => t.diagnostic(line) })
})
