// @ts-check
/**
 * "Saved" means on disk. For every family: wait until the client itself shows saved, kill the
 * server with SIGKILL in that very event, start it again, and a fresh device must see the edit.
 * The client that made the edit is cut off first, so that it cannot offer the edit again.
 */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Device, families, family, familiesOf, listen } from './lib/clients.mjs'
import { Server } from './lib/server.mjs'
import { realTime, until } from './lib/wait.mjs'

/** @typedef {import('./lib/clients.mjs').Family} Family */

/**
 * A quarter of a second from one commit to the next: an ack that does not wait for its commit comes that much
 * too early, and the kill finds nothing on disk.
 */
const SLOW_COMMITS = '[limits]\ncommit_pace_us = 250000\n'

/**
 * Kills the server in the event that shows saved, and gives what a fresh device then reads.
 *
 * @param {import('node:test').TestContext} t
 * @param {Server} server
 * @param {Device} device
 * @param {Device[]} [others] more devices that hold the edit and must not bring it back
 */
async function afterPowerCut(t, server, device, others = []) {
  /** @type {Promise<unknown> | undefined} */
  let dead
  await device.whenSaved(() => {
    dead = server.kill()
    for (const holder of [device, ...others]) holder.goOffline()
  })
  await dead
  await server.up()
  const fresh = new Device(t, family('y-websocket 3.1.0'), server, { document: device.document })
  await fresh.whenSynced()
  return { text: fresh.text.toString(), fresh }
}

/** A document with text in it, saved. @param {import('node:test').TestContext} t @param {Family} kind */
async function begun(t, kind) {
  const server = await Server.start(t, { config: SLOW_COMMITS })
  const device = new Device(t, kind, server, { document: 'kept' })
  await device.whenSynced()
  device.text.insert(0, 'first words, last words')
  await device.whenSaved()
  return { server, device }
}

/** @type {[string, (t: import('node:test').TestContext, kind: Family) => Promise<void>][]} */
const cases = [
  [
    'a live edit',
    async (t, kind) => {
      const { server, device } = await begun(t, kind)
      for (const round of ['A', 'B', 'C']) {
        device.text.insert(0, round)
        const { text } = await afterPowerCut(t, server, device)
        assert.ok(text.startsWith(round), `the edit is gone: ${text}`)
        device.goOnline()
        await device.whenSynced()
        await device.whenSaved()
      }
    },
  ],
  [
    'an offline edit',
    async (t, kind) => {
      const { server, device } = await begun(t, kind)
      device.goOffline()
      await device.until(() => !device.synced, 'noticed the loss of the network')
      device.text.insert(0, 'offline ')
      assert.equal(device.saved, false, 'shown as saved without a network')
      device.goOnline()
      const { text } = await afterPowerCut(t, server, device)
      assert.equal(text, 'offline first words, last words')
    },
  ],
  [
    'a live edit that only deletes',
    async (t, kind) => {
      const { server, device } = await begun(t, kind)
      device.text.delete(0, 13)
      const { text } = await afterPowerCut(t, server, device)
      assert.equal(text, 'last words')
    },
  ],
  [
    'an offline edit that only deletes',
    async (t, kind) => {
      const { server, device } = await begun(t, kind)
      device.goOffline()
      await device.until(() => !device.synced, 'noticed the loss of the network')
      device.text.delete(0, 13)
      assert.equal(device.saved, false, 'shown as saved without a network')
      device.goOnline()
      const { text } = await afterPowerCut(t, server, device)
      assert.equal(text, 'last words')
    },
  ],
  [
    'a burst of 500 edits',
    async (t, kind) => {
      const { server, device } = await begun(t, kind)
      device.text.delete(0, 23)
      for (let i = 0; i < 500; i += 1) device.text.insert(i, String(i % 10))
      const { text } = await afterPowerCut(t, server, device)
      assert.equal(text, '0123456789'.repeat(50))
    },
  ],
  [
    'an edit of another tab, shared beside the server',
    async (t, kind) => {
      const { server, device: tab } = await begun(t, kind)
      const other = new Device(t, kind, server, { document: 'kept' })
      await other.whenSynced()
      await other.until(() => other.text.toString() === tab.text.toString(), 'both tabs hold the text')
      link(tab, other)
      for (const round of ['A', 'B', 'C']) {
        tab.text.insert(0, round)
        assert.ok(other.text.toString().startsWith(round))
        // The other tab offers the same update: it is nothing new to the server, yet not on disk.
        const { text } = await afterPowerCut(t, server, other, [tab])
        assert.ok(text.startsWith(round), `the tab that got the edit showed it as saved too early: ${text}`)
        tab.goOnline()
        other.goOnline()
        await Promise.all([tab, other].map((device) => device.whenSynced()))
        await Promise.all([tab, other].map((device) => device.whenSaved()))
      }
    },
  ],
  [
    'an edit whose ack was lost with the connection',
    async (t, kind) => {
      const { server, device } = await begun(t, kind)
      const watcher = new Device(t, family('y-websocket 3.0.0'), server, { document: 'kept' })
      await watcher.whenSynced()
      device.network.hold(true)
      device.text.insert(0, 'unheard ')
      await watcher.until(() => watcher.text.toString().startsWith('unheard '), 'the server has the edit')
      watcher.goOffline()
      device.goOffline()
      await device.until(() => !device.synced, 'noticed the loss of the network')
      assert.equal(device.saved, false, 'shown as saved although no ack was heard')
      device.network.hold(false)
      device.goOnline()
      const { text } = await afterPowerCut(t, server, device)
      assert.ok(text.startsWith('unheard '))
    },
  ],
]

describe('shown as saved is on disk', { concurrency: 3 }, () => {
  for (const kind of families) {
    describe(kind.name, () => {
      for (const [name, run] of cases) {
        // Without an indicator there is nothing to be untrue when a broadcast carries the same ids.
        const skip = name.includes('another tab') && !kind.ownIndicator && 'this client shows no saved'
        test(name, { skip }, (t) => run(t, kind))
      }
    })
  }
})

for (const kind of familiesOf('hocuspocus')) {
  test(`queued offline edits buy no acks for later ones: ${kind.name}`, async (t) => {
    const { server, device } = await begun(t, kind)
    device.goOffline()
    await device.until(() => !device.synced, 'noticed the loss of the network')
    // The provider queues these Updates and sends them once more inside its SyncStep2, but it
    // counts only the latter: acks for the former would be one too many each.
    for (let i = 0; i < 50; i += 1) device.text.insert(0, '.')
    const heard = listen(device)
    device.goOnline()
    await device.whenSaved(() => device.text.insert(0, 'late '))
    assert.equal(device.saved, false, 'shown as saved before it was sent')
    const { text } = await afterPowerCut(t, server, device)
    assert.ok(text.startsWith('late '), `the late edit is gone: ${text.slice(0, 20)}`)
    const acks = heard.filter(({ kind: type, value }) => type === 'syncStatus' && value === 1).length
    assert.equal(acks, 2, 'one for the sync, one for the late edit')
  })
}

test('nothing is shown as saved while the server cannot answer', async (t) => {
  const server = await Server.start(t)
  const devices = families.map((kind, i) => new Device(t, kind, server, { document: `frozen/${i}` }))
  await Promise.all(devices.map((device) => device.whenSynced()))
  // A reconnect with queued edits first: surplus acks would be left over from it.
  for (const device of devices) device.goOffline()
  await until(devices, () => devices.every((device) => !device.synced), 'all noticed the loss of the network')
  for (const device of devices) for (let i = 0; i < 5; i += 1) device.text.insert(0, 'x')
  for (const device of devices) device.goOnline()
  await Promise.all(devices.map((device) => device.whenSaved()))

  server.freeze()
  // What was sent before the freeze may still be on its way: a turn of real time lets it arrive.
  await realTime(200)
  for (const device of devices) device.text.insert(0, 'frozen ')
  // Real time is the point: saved must not show in it. Shorter than any client's own time limit.
  await realTime(1_500)
  const liars = devices.filter((device) => device.saved).map((device) => device.family.name)
  assert.deepEqual(liars, [])
  server.thaw()
  await Promise.all(devices.map((device) => device.whenSaved()))
})

/**
 * Shares edits between two tabs without the server, in both directions, as a BroadcastChannel does.
 *
 * @param {Device} a
 * @param {Device} b
 */
function link(a, b) {
  for (const [from, to] of [[a, b], [b, a]]) {
    from?.doc.on('update', (/** @type {Uint8Array} */ update, /** @type {any} */ origin) => {
      if (origin !== 'tab') to?.apply(update, 'tab')
    })
  }
}
