// @ts-check
/** A client that says nothing and hears nothing for 40 s keeps its one connection. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { converge, Device, families } from './lib/clients.mjs'
import { Server } from './lib/server.mjs'
import { realTime } from './lib/wait.mjs'

test('40 s idle without awareness costs no family its connection', { timeout: 90_000 }, async (t) => {
  const server = await Server.start(t)
  // A document each: nobody's traffic keeps another's connection alive.
  const devices = families.map((kind, i) => new Device(t, kind, server, { document: `idle/${i}`, awareness: false, patient: true }))
  await Promise.all(devices.map((device) => device.whenSynced()))
  // Real time is the point: the clients' own watchdogs fire after 30 s without a message.
  await realTime(40_000)
  assert.deepEqual(
    devices.map((device) => [device.family.name, device.network.tried, device.network.open]),
    families.map((kind) => [kind.name, 1, 1]),
  )
  for (const [i, device] of devices.entries()) {
    const peer = new Device(t, device.family, server, { document: `idle/${i}` })
    device.text.insert(0, 'awake')
    await Promise.all([device.whenSaved(), peer.whenSynced()])
    await converge([device, peer])
  }
})
