// @ts-check
/**
 * A refusal must not start a reconnect storm. Every case runs for all families at once, with the
 * clients' own reconnect delays, over 12 s of real time.
 */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Device, families, familiesOf, family, listen } from './lib/clients.mjs'
import { Server } from './lib/server.mjs'
import { realTime, until } from './lib/wait.mjs'

const WATCH_MS = 12_000

/** @param {Device[]} devices @returns {Record<string, number>} */
const tries = (devices) => Object.fromEntries(devices.map((device) => [device.family.name, device.network.tried]))

/** Version 2 of the provider does not come back after a 1009. @param {string} name */
const givesUp = (name) => name.includes('2.15.3')

describe('no reconnect storm in 12 s', { concurrency: true }, () => {
  test('after access to a document was denied', async (t) => {
    const server = await Server.start(t, { open: false })
    const token = await server.token({ user: 'bob' })
    const devices = families.map((kind) => new Device(t, kind, server, { document: 'alice/diary', token, patient: true }))
    await realTime(WATCH_MS)
    for (const [name, count] of Object.entries(tries(devices))) {
      // y-sweet is refused before the socket is there; it tries every 0.5 s or slower by itself.
      const most = name.includes('y-sweet') ? 20 : 1
      assert.ok(count >= 1 && count <= most, `${name} connected ${count} times`)
    }
  })

  test('after an update over the size limit', async (t) => {
    const server = await Server.start(t, { config: '[limits]\nmessage_bytes = 65536\n' })
    const devices = families.map((kind, i) => new Device(t, kind, server, { document: `big/${i}`, patient: true }))
    await Promise.all(devices.map((device) => device.whenSynced()))
    /** @type {Map<Device, import('./lib/wire.mjs').Frame[]>} */
    const heard = new Map(devices.map((device) => [device, listen(device)]))
    for (const device of devices) device.text.insert(0, 'x'.repeat(200_000))
    await realTime(WATCH_MS)
    for (const [name, count] of Object.entries(tries(devices))) {
      // The Update ends the first connection, the same edit as SyncStep2 the second; the third is not asked for it.
      const least = givesUp(name) ? 1 : 2
      assert.ok(count >= least && count <= 3, `${name} connected ${count} times`)
    }
    for (const device of devices) {
      const { dialect, name } = device.family
      if (givesUp(name)) continue
      assert.equal(device.network.open, 1, `${name} is connected`)
      assert.ok(device.network.closes.some(({ code }) => code === 1009), `${name} was told 1009`)
      const frames = heard.get(device) ?? []
      const told =
        dialect === 'hocuspocus'
          ? frames.some(({ kind, value }) => kind === 'syncStatus' && value === 0)
          : frames.some(({ kind, text }) => kind === 'auth' && text?.includes('over the message limit of 64 KiB: upload'))
      assert.ok(told, `${name} was told what to do`)
    }
    assert.deepEqual(devices.filter((device) => device.saved && device.synced).map((device) => device.family.name), [], 'shown as saved')
    // The server is well, for everyone.
    const other = new Device(t, family('y-websocket 3.1.0'), server, { document: 'small' })
    await other.whenSynced()
    other.text.insert(0, 'fine')
    await other.whenSaved()
  })

  for (const kind of familiesOf('hocuspocus').filter(({ name }) => !givesUp(name))) {
    test(`after an update over the size limit, which leaves other documents on the socket alone: ${kind.name}`, async (t) => {
      const server = await Server.start(t, { config: '[limits]\nmessage_bytes = 65536\n' })
      const first = new Device(t, kind, server, { document: 'first', patient: true })
      const big = new Device(t, kind, server, { document: 'big', patient: true, beside: first })
      const last = new Device(t, kind, server, { document: 'last', patient: true, beside: first })
      const devices = [first, big, last]
      await Promise.all(devices.map((device) => device.whenSynced()))
      first.goOffline()
      await until(devices, () => devices.every((device) => !device.synced), 'noticed the loss of the network')
      big.text.insert(0, 'x'.repeat(200_000))
      first.text.insert(0, 'fine')
      last.text.insert(0, 'fine')
      first.network.tried = 0
      first.goOnline()
      await realTime(WATCH_MS)
      const tried = first.network.tried
      assert.ok(tried >= 2 && tried <= 5, `connected ${tried} times`)
      assert.deepEqual(devices.map((device) => device.saved), [true, false, true])
    })
  }

  test('after an update was refused as unsafe, and broadcasts still flow', async (t) => {
    const server = await Server.start(t)
    const devices = families.map((kind, i) => new Device(t, kind, server, { document: `deep/${i}`, patient: true }))
    const writers = families.map((_, i) => new Device(t, family('y-websocket 3.1.0'), server, { document: `deep/${i}` }))
    await Promise.all([...devices, ...writers].map((device) => device.whenSynced()))
    /** @type {any} */
    let nested = 'deep-deep'
    for (let depth = 0; depth < 200; depth += 1) nested = [nested]
    for (const device of devices) device.keys.set('deep', nested)
    for (const device of devices) device.text.insert(0, 'after it. ')
    await realTime(WATCH_MS)
    for (const [name, count] of Object.entries(tries(devices))) assert.equal(count, 1, `${name} connected ${count} times`)
    for (const [i, writer] of writers.entries()) {
      writer.text.insert(0, 'still heard')
      await writer.whenSaved()
      const device = /** @type {Device} */ (devices[i])
      await device.until(() => device.text.toString().includes('still heard'), 'a broadcast')
      assert.equal(writer.text.toString(), 'still heard', 'what follows a refused update was applied')
      assert.equal(device.saved, false, `${device.family.name} shows the refused update as saved`)
    }
  })
})
