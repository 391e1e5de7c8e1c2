// @ts-check
/** Every client family edits the same documents: live, offline, deleting, with presence. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { converge, Device, families, family } from './lib/clients.mjs'
import { fingerprint } from './lib/documents.mjs'
import { Server } from './lib/server.mjs'
import { until } from './lib/wait.mjs'

/** @param {Device[]} devices */
const settled = async (devices) => {
  await Promise.all(devices.map((device) => device.whenSynced()))
  await Promise.all(devices.map((device) => device.whenSaved()))
}

/** @param {Device[]} devices */
function sameStructs(devices) {
  const [first, ...rest] = devices.map((device) => fingerprint(device.state()))
  for (const other of rest) assert.equal(other, first)
}

test('every family edits several documents at once and all replicas end equal', async (t) => {
  const server = await Server.start(t)
  for (const document of ['notes/one', 'notes/two', 'späße & co/drei']) {
    const devices = families.map((kind) => new Device(t, kind, server, { document }))
    await settled(devices)
    devices.forEach((device, i) => {
      device.text.insert(device.text.toString().length, `${i}:${document} `)
      device.keys.set(`key ${i}`, { from: device.family.name })
    })
    await converge(devices)
    await until(
      devices,
      () => devices.every((device) => families.every((kind, i) => device.keys.get(`key ${i}`)?.from === kind.name)),
      'every device has every key',
    )
    await settled(devices)
    families.forEach((_, i) => assert.ok(devices[0]?.text.toString().includes(`${i}:${document}`)))
    sameStructs(devices)
  }
})

test('edits made offline on all sides survive a restart of the server and merge', async (t) => {
  const server = await Server.start(t)
  const devices = families.map((kind) => new Device(t, kind, server, { document: 'offline' }))
  await settled(devices)
  devices[0]?.text.insert(0, 'common ground. ')
  await converge(devices)
  await settled(devices)
  for (const device of devices) device.goOffline()
  await server.kill()
  devices.forEach((device, i) => {
    device.text.insert(device.text.toString().length, `<${i}>`)
    device.text.delete(0, 1)
    device.keys.set(`offline ${i}`, i)
  })
  await server.up()
  for (const device of devices) device.goOnline()
  const merged = () => devices.every((device) => families.every((_, i) => device.text.toString().includes(`<${i}>`)))
  await until(devices, merged, () => `all offline edits everywhere: ${devices.map((device) => device.text)}`, { ms: 30_000 })
  await settled(devices)
  await converge(devices)
  assert.ok(devices[0]?.text.toString().startsWith('ommon ground. '), 'concurrent deletes of one character delete it once')
  sameStructs(devices)
})

for (const deleter of families) {
  test(`an edit that only deletes reaches everyone, from ${deleter.name}`, async (t) => {
    const server = await Server.start(t)
    const writer = new Device(t, family('@hocuspocus/provider 4.8.0'), server, { document: 'deleting' })
    const device = new Device(t, deleter, server, { document: 'deleting' })
    const watcher = new Device(t, family('y-websocket 3.0.0'), server, { document: 'deleting' })
    await settled([writer, device, watcher])
    writer.text.insert(0, 'keep this, drop that')
    writer.keys.set('doomed', 1)
    await converge([writer, device, watcher])
    await device.until(() => device.keys.get('doomed') === 1, 'the key')

    device.text.delete(9, 11)
    device.keys.delete('doomed')
    await until(
      [writer, watcher],
      () => [writer, watcher].every((other) => other.text.toString() === 'keep this' && other.keys.get('doomed') === undefined),
      'the live deletion',
    )
    device.goOffline()
    device.text.delete(4, 5)
    device.goOnline()
    await until([writer, watcher], () => [writer, watcher].every((other) => other.text.toString() === 'keep'), 'the offline deletion')
  })
}

test('presence is seen by every family, goes with a lost device and comes back with it', async (t) => {
  const server = await Server.start(t)
  const devices = families.map((kind) => new Device(t, kind, server, { document: 'presence' }))
  await settled(devices)
  for (const device of devices) device.introduce(device.family.name)
  const sees = (/** @type {Device} */ device, /** @type {Device} */ other) => device.others().includes(other.family.name)
  const all = () => devices.every((device) => devices.every((other) => other === device || sees(device, other)))
  await until(devices, all, () => JSON.stringify(devices.map((device) => [device.family.name, device.others()])))

  for (const lost of devices.slice(0, -1)) {
    const rest = devices.filter((device) => device !== lost)
    lost.goOffline()
    await until(rest, () => rest.every((device) => !sees(device, lost)), `${lost.family.name} is gone for everyone`, { ms: 35_000 })
  }
  for (const device of devices) device.goOnline()
  // Clients drop a state whose clock they saw removed until its owner renews it, every 15 s
  // (y-websocket#122): real time, for all families at once.
  await until(devices, all, () => `back: ${JSON.stringify(devices.map((device) => [device.family.name, device.others()]))}`, {
    ms: 35_000,
  })
})

test('several documents share one Hocuspocus socket, each with its own presence', async (t) => {
  const server = await Server.start(t)
  for (const version of ['2.15.3', '3.4.4', '4.8.0']) {
    const kind = family(version)
    const first = new Device(t, kind, server, { document: `${version}/a` })
    const second = new Device(t, kind, server, { document: `${version}/b`, beside: first })
    const other = new Device(t, family('y-websocket 3.1.0'), server, { document: `${version}/b` })
    await settled([first, second, other])
    first.text.insert(0, 'in a')
    second.text.insert(0, 'in b')
    second.introduce('second')
    await converge([second, other])
    await other.until(() => other.others().includes('second'), 'presence of the second document')
    await settled([first, second])
    assert.equal(first.text.toString(), 'in a')
    assert.equal(first.network.opened, 1)
  }
})

test('one document opened twice on one socket with sessionAwareness is two devices', async (t) => {
  const server = await Server.start(t)
  const kind = family('with sessionAwareness')
  const left = new Device(t, kind, server, { document: 'split' })
  const right = new Device(t, kind, server, { document: 'split', beside: left })
  await settled([left, right])
  left.text.insert(0, 'left ')
  right.text.insert(0, 'right ')
  left.introduce('left')
  right.introduce('right')
  await until([left, right], () => left.others().includes('right') && right.others().includes('left'), 'both see each other')
  await converge([left, right])
  await settled([left, right])
  assert.match(left.text.toString(), /left /)
  assert.match(left.text.toString(), /right /)
  assert.equal(left.network.opened, 1)
})
