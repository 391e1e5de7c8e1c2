// @ts-check
/** Sync status for clients that ask for it (PROTOCOL 7), over both framings, and what it counts. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as Y from 'yjs'
import { Device, family } from './lib/clients.mjs'
import { Server } from './lib/server.mjs'
import { realTime } from './lib/wait.mjs'
import { authFrame, jsonFrame, syncFrame, Wire } from './lib/wire.mjs'

const EMPTY_STATE_VECTOR = new Uint8Array([0])
const EMPTY_UPDATE = new Uint8Array([0, 0])

/** @param {string} id */
const deviceQuery = (id) => `device=${id}&deviceName=${id}-name&deviceKind=phone`

/**
 * A raw client that has synced and asked for status.
 *
 * @param {import('node:test').TestContext} t
 * @param {Server} server
 * @param {{ document: string, device: string, dialect: 'plain' | 'hocuspocus', ask?: 'subprotocol' | 'query' | 'not' }} options
 */
async function join(t, server, { document, device, dialect, ask = 'subprotocol' }) {
  const address = dialect === 'plain' ? null : document
  const path = dialect === 'plain' ? `/sync/${document}` : '/sync'
  const query = `${deviceQuery(device)}${ask === 'query' ? '&status=1' : ''}`
  const protocols = ask === 'subprotocol' ? ['syncline.v1'] : []
  const wire = await Wire.open(t, `ws://${server.address}${path}?${query}`, { protocols, dialect })
  if (address !== null) wire.send(authFrame('', address))
  wire.send(syncFrame('step1', EMPTY_STATE_VECTOR, address))
  await wire.next('step2')
  await wire.next('step1')
  wire.send(syncFrame('step2', EMPTY_UPDATE, address))
  const kind = dialect === 'plain' ? 'status' : 'stateless'
  return {
    wire,
    /** Waits for a status that satisfies `match`. @param {(status: any) => boolean} [match] */
    async status(match = () => true) {
      const frame = await wire.next(kind, ({ text }) => {
        const status = JSON.parse(/** @type {string} */ (text))
        return status.type === 'status' && match(status)
      })
      return JSON.parse(/** @type {string} */ (frame.text))
    },
    heard: () => wire.frames.filter((frame) => frame.kind === 'status' || frame.kind === 'stateless').length,
    update: (/** @type {Uint8Array} */ bytes) => wire.send(syncFrame('update', bytes, address)),
    tell: (/** @type {unknown} */ json) => wire.send(jsonFrame(json, address)),
  }
}

/** Updates of one author, one a keystroke. */
function typist() {
  const doc = new Y.Doc()
  /** @type {Uint8Array} */
  let last = EMPTY_UPDATE
  doc.on('update', (update) => {
    last = update
  })
  return (/** @type {string} */ text) => {
    doc.getText('text').insert(doc.getText('text').length, text)
    return last
  }
}

for (const dialect of /** @type {const} */ (['plain', 'hocuspocus'])) {
  for (const ask of /** @type {const} */ (['subprotocol', 'query'])) {
    test(`status over ${dialect} frames, asked for by ${ask}: saved, devices, behind and received`, async (t) => {
      const server = await Server.start(t)
      const document = 'chat'
      const laptop = await join(t, server, { document, device: 'laptop', dialect, ask })
      const start = await laptop.status()
      assert.equal(start.document, document)
      const phone = await join(t, server, { document, device: 'phone', dialect, ask })
      const type = typist()
      for (const word of ['one ', 'two ', 'three ']) laptop.update(type(word))
      const find = (/** @type {any} */ status, /** @type {string} */ id) => status.devices.find((/** @type {any} */ device) => device.id === id)

      const saved = start.saved + 3
      const status = await laptop.status((entry) => entry.saved >= saved && find(entry, 'phone')?.behind === 3)
      const seen = find(status, 'phone')
      assert.deepEqual([seen.name, seen.kind, seen.online], ['phone-name', 'phone', true])
      assert.equal(typeof seen.lastSeen, 'number')

      phone.tell({ type: 'received', document, saved: status.saved - 1 })
      await laptop.status((entry) => find(entry, 'phone')?.behind === 1)
      phone.tell({ type: 'received', document, saved: status.saved })
      await laptop.status((entry) => find(entry, 'phone')?.behind === 0)
      await phone.status((entry) => find(entry, 'phone')?.behind === 0)

      phone.wire.socket.close()
      await laptop.status((entry) => find(entry, 'phone')?.online === false)
      laptop.update(type('four '))
      await laptop.status((entry) => find(entry, 'phone')?.behind === 1)
    })
  }

  test(`a client that did not ask hears no status over ${dialect} frames`, async (t) => {
    const server = await Server.start(t)
    const asking = await join(t, server, { document: 'chat', device: 'laptop', dialect })
    const silent = await join(t, server, { document: 'chat', device: 'phone', dialect, ask: 'not' })
    const type = typist()
    asking.update(type('hello'))
    await silent.wire.next('update')
    await asking.status((status) => status.saved >= 1)
    silent.update(type(' again'))
    await asking.status((status) => status.saved >= 2)
    await silent.wire.next(dialect === 'plain' ? 'update' : 'syncStatus')
    assert.equal(silent.heard(), 0)
  })

  test(`a hidden client hears at most one update a second over ${dialect} frames, and all of it`, async (t) => {
    const server = await Server.start(t)
    const writer = await join(t, server, { document: 'chat', device: 'laptop', dialect })
    const hidden = await join(t, server, { document: 'chat', device: 'phone', dialect })
    const type = typist()
    const reader = new Y.Doc()
    let frames = 0
    const read = async () => {
      Y.applyUpdate(reader, /** @type {Uint8Array} */ ((await hidden.wire.next('update')).bytes))
      frames += 1
    }
    writer.update(type('seen. '))
    await read()
    hidden.tell({ type: 'visibility', hidden: true })
    // Its own ack, or a status, says that the server has read so far.
    hidden.update(typist()('mine'))
    await writer.wire.next('update')
    let wanted = 'seen. '
    frames = 0
    const started = Date.now()
    // Real time is the point: the limit is one frame a second.
    for (let i = 0; i < 25; i += 1) {
      writer.update(type(`${i} `))
      wanted += `${i} `
      await realTime(100)
    }
    const holds = () => reader.getText('text').toString().includes(wanted)
    while (!holds()) await read()
    const seconds = (Date.now() - started) / 1000
    // The plain framing echoes the hidden client's own update once, apart from the writer's.
    assert.ok(frames <= Math.ceil(seconds) + 2, `${frames} frames in ${seconds} s`)

    hidden.tell({ type: 'visibility', hidden: false })
    hidden.update(typist()('shown'))
    await writer.wire.next('update')
    for (let i = 0; i < 3; i += 1) {
      const update = type('live ')
      const at = Date.now()
      writer.update(update)
      wanted += 'live '
      while (!holds()) await read()
      assert.ok(Date.now() - at < 900, 'visible again, yet it waits for the second')
    }
  })
}

test('real clients get status: y-websocket by subprotocol, Hocuspocus as stateless messages', async (t) => {
  const server = await Server.start(t)
  const plain = new Device(t, family('y-websocket 3.1.0'), server, { document: 'chat', query: { device: 'a' }, protocols: ['syncline.v1'] })
  /** @type {any[]} */
  const statuses = []
  const before = plain.network.onReceive
  plain.network.onReceive = (bytes) => {
    before?.(bytes)
    if (bytes[0] === 110) statuses.push(bytes)
  }
  const rich = new Device(t, family('@hocuspocus/provider 4.8.0'), server, { document: 'chat', query: { device: 'b', status: '1' } })
  await Promise.all([plain.whenSynced(), rich.whenSynced()])
  rich.text.insert(0, 'x')
  const told = () => (rich.told.stateless ?? []).map(({ payload }) => JSON.parse(payload))
  await rich.until(() => told().some((status) => status.type === 'status' && status.saved >= 1 && status.devices.length === 2), () => JSON.stringify(told()))
  await plain.until(() => statuses.length > 0, 'a message of type 110')
  assert.equal(plain.network.opened, 1)
})
