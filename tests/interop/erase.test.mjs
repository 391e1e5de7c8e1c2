// @ts-check
/**
 * Erase wins: a stale, offline device of every family comes back to what was erased. Of a message it gets `{ erased }`, of
 * a conversation the word that it is gone, once, and no reconnect storm follows.
 */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Device, families, listen } from './lib/clients.mjs'
import { Household, begin, part, uuid7 } from './lib/model.mjs'
import { Server } from './lib/server.mjs'
import { realTime } from './lib/wait.mjs'

/** Only Yjs 13 nests maps in the way that the model is written in. */
const kinds = families.filter((kind) => !kind.name.startsWith('@y/websocket'))
const WATCH_MS = 12_000
const SECRET = 'Zq7-what-nobody-reads-again'

/** @param {any} t @param {Server} server @param {typeof kinds[0]} kind @param {string} document @param {boolean} [patient] */
async function synced(t, server, kind, document, patient) {
  const token = await server.token({ user: 'ada', device: 'stale' })
  const device = new Device(t, kind, server, { document, token, patient })
  await device.whenSynced()
  return device
}

/** What stands under a message's parts. @param {Device} device @param {string} id */
const parts = (device, id) => device.doc.getMap('messages').get(id)?.get('parts')

/** Changes a message as a client that does not know better. @param {Device} device @param {string} id */
const reword = (device, id) => device.doc.getMap('messages').get(id).set('parts', [{ type: 'text', text: SECRET }])

describe('an erased message', { concurrency: 3 }, () => {
  for (const kind of kinds) {
    test(`comes back as erased to an offline device that changed it: ${kind.name}`, async (t) => {
      const server = await Server.start(t, { open: false })
      const home = new Household(t, server)
      const { question, answer } = await begin(home)
      const stale = await synced(t, server, kind, `ada/c/${home.conversation}`)
      await part([stale])
      reword(stale, question)
      const receipt = await home.api(`${home.conversation}/messages/${question}/erase`, 'POST')
      assert.equal(receipt.what, 'message')
      stale.goOnline()
      await stale.until(() => parts(stale, question)?.erased === true, 'erased comes back')
      assert.equal(parts(stale, answer)[0].text, 'Rome.')
      reword(stale, question)
      await stale.until(() => parts(stale, question)?.erased === true, 'and again, live')
      const turn = await home.api(`${home.conversation}/messages/${question}`)
      assert.deepEqual([turn.erased, turn.parts], [true, []])
      assert.ok(!JSON.stringify(await home.api(`${home.conversation}/messages?branch=all`)).includes(SECRET))
    })
  }
})

/** What each family sees of a name that is burned. @param {Device} device @param {import('./lib/wire.mjs').Frame[]} heard */
function told(device, heard) {
  const denied = heard.some((frame) => frame.kind === 'auth' && frame.text?.startsWith('gone'))
  return denied || device.network.refused.includes(410)
}

test('an erased conversation stays gone for everyone, live or offline, without a reconnect storm', async (t) => {
  const server = await Server.start(t, { open: false })
  const home = new Household(t, server)
  const { question } = await begin(home)
  const document = `ada/c/${home.conversation}`
  const live = await Promise.all(kinds.map((kind) => synced(t, server, kind, document, true)))
  const stale = await Promise.all(kinds.map((kind) => synced(t, server, kind, document, true)))
  await part(stale)
  for (const device of stale) reword(device, question)
  const devices = [...live, ...stale]
  const heard = new Map(devices.map((device) => [device, listen(device)]))
  const before = new Map(devices.map((device) => [device, device.network.tried]))
  await home.api(`${home.conversation}/erase`, 'POST')
  for (const device of stale) device.goOnline()
  for (const device of devices) {
    await device.until(() => told(device, heard.get(device) ?? []), 'the word that it is gone')
  }
  for (const device of live.filter(({ family }) => family.dialect !== 'hocuspocus')) {
    assert.equal(device.network.closes[0]?.code, 4404, device.family.name)
  }
  for (const device of live.filter(({ family }) => family.dialect === 'hocuspocus')) {
    assert.equal(device.network.open, 1, `${device.family.name}: the socket is kept, it may have other documents`)
  }
  await realTime(WATCH_MS)
  for (const device of devices) {
    const { name } = device.family
    const count = device.network.tried - (before.get(device) ?? 0)
    // y-sweet is refused before the socket is there; it tries every 0.5 s or slower by itself.
    const most = name.includes('y-sweet') ? 26 : 2
    assert.ok(count <= most, `${name} connected ${count} times`)
  }
  // Whoever makes the conversation anew has another name for it.
  await assert.rejects(home.api('', 'POST', { id: home.conversation }), /410/)
  await home.api('', 'POST', { id: uuid7() })
  await server.term()
  await assert.rejects(server.onDisk(document), /there is no document/)
})
