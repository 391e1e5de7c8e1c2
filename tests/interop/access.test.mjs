// @ts-check
/** Tokens: who may read, who may write, and what each family sees when it may not or no longer. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Device, families, familiesOf, family, listen } from './lib/clients.mjs'
import { Server } from './lib/server.mjs'

describe('a reader', { concurrency: 3 }, () => {
  for (const kind of families) {
    test(`sees everything and changes nothing: ${kind.name}`, async (t) => {
      const server = await Server.start(t, { open: false })
      const document = 'alice/notes'
      const writer = new Device(t, family('y-websocket 3.1.0'), server, { document, token: await server.token({ user: 'alice' }) })
      const token = await server.token({ user: 'alice', role: 'reader' })
      const reader = new Device(t, kind, server, { document, token })
      const heard = listen(reader)
      await Promise.all([writer, reader].map((device) => device.whenSynced()))
      writer.text.insert(0, 'read me')
      await reader.until(() => reader.text.toString() === 'read me', 'the broadcast')
      if (kind.dialect === 'hocuspocus') await reader.whenSaved()

      for (const mark of ['?', '!', '#']) reader.text.insert(0, mark)
      if (kind.dialect === 'plain') {
        await reader.until(() => heard.some((frame) => frame.kind === 'auth'), 'the words "read-only"')
      } else if (kind.dialect === 'hocuspocus') {
        const refusals = () => heard.filter((frame) => frame.kind === 'syncStatus' && frame.value === 0).length
        await reader.until(() => refusals() === 3, 'a SyncStatus 0 for each edit')
        assert.equal(reader.told.authenticated?.[0]?.scope ?? reader.binding.provider.authorizedScope, 'readonly')
      }
      writer.text.insert(7, ' again')
      await reader.until(() => reader.text.toString().endsWith('read me again'), 'broadcasts still flow')
      await writer.whenSaved()
      // The writer's edit and its ack came after the reader's edits: they would be there by now.
      assert.equal(writer.text.toString(), 'read me again')
      assert.equal(reader.saved, false, 'a refused edit is shown as saved')
      assert.equal(reader.network.opened, 1, 'the socket is kept')
      if (kind.dialect === 'plain') {
        const words = heard.filter((frame) => frame.kind === 'auth')
        assert.deepEqual(words.map((frame) => frame.text), ['read-only'], 'said once a connection')
      }
    })
  }
})

describe("someone else's document", { concurrency: 3 }, () => {
  for (const kind of families) {
    test(`is denied in the words of ${kind.name}`, async (t) => {
      const server = await Server.start(t, { open: false })
      const owner = new Device(t, family('y-websocket 3.1.0'), server, {
        document: 'alice/diary',
        token: await server.token({ user: 'alice' }),
      })
      await owner.whenSynced()
      owner.text.insert(0, 'secret')
      await owner.whenSaved()
      for (const token of [await server.token({ user: 'bob' }), 'not.a.token', undefined]) {
        // Version 2 of the provider sends no Auth without a token, so nothing can be judged.
        if (kind.name.includes('2.15.3') && token === undefined) continue
        const thief = new Device(t, kind, server, { document: 'alice/diary', token })
        const heard = listen(thief)
        thief.text.insert(0, 'forged')
        if (kind.dialect === 'plain') {
          await thief.until(() => heard.some((frame) => frame.kind === 'auth' && frame.text), 'a reason in a frame')
          assert.equal(thief.network.open, 1, 'the socket is held open')
        } else if (kind.dialect === 'hocuspocus') {
          await thief.until(() => thief.told.authenticationFailed, 'authenticationFailed')
          assert.equal(thief.network.open, 1, 'the socket is kept')
        } else {
          await thief.until(() => thief.network.refused.length > 0, 'an HTTP refusal')
          assert.equal(thief.network.refused[0], 401)
        }
        assert.equal(thief.synced && kind.dialect !== 'hocuspocus', false, 'synced although denied')
        assert.equal(thief.text.toString(), 'forged', 'something of the document leaked')
        assert.ok(!heard.some((frame) => frame.kind === 'step2' || frame.kind === 'update'), 'document bytes leaked')
        thief.destroy()
      }
      owner.text.insert(6, 's')
      await owner.whenSaved()
      assert.equal(owner.text.toString(), 'secrets')
    })
  }
})

test('one denied document leaves the others on its Hocuspocus socket alone', async (t) => {
  const server = await Server.start(t, { open: false })
  const token = await server.token({ user: 'alice' })
  for (const kind of familiesOf('hocuspocus')) {
    const good = new Device(t, kind, server, { document: 'alice/a', token })
    const bad = new Device(t, kind, server, { document: 'bob/b', token, beside: good })
    await Promise.all([good.whenSynced(), bad.until(() => bad.told.authenticationFailed, 'authenticationFailed')])
    good.text.insert(0, 'x')
    await good.whenSaved()
    assert.equal(good.network.opened, 1)
  }
})

describe('a token that expires', { concurrency: 4 }, () => {
  // Version 2 of the provider does not know the question: it is denied, as if it had no answer.
  for (const kind of familiesOf('hocuspocus').filter((entry) => !entry.name.includes('2.15.3'))) {
    test(`is asked for again on the open socket: ${kind.name}`, async (t) => {
      const server = await Server.start(t, { open: false })
      const lasting = await server.token({ user: 'alice' })
      const brief = await server.token({ user: 'alice', ttl: '3s' })
      let asked = 0
      const askToken = () => (asked++ === 0 ? brief : lasting)
      const device = new Device(t, kind, server, { document: 'alice/notes', askToken })
      const heard = listen(device)
      await device.whenSynced()
      await device.until(() => heard.some((frame) => frame.kind === 'auth' && frame.value === 0), 'Auth 0')
      await device.until(() => asked >= 2 && heard.filter((frame) => frame.kind === 'auth' && frame.value === 2).length === 2, 'a second authentication')
      // An edit after the old token is dead, however early the server asked.
      const expiry = JSON.parse(Buffer.from(/** @type {string} */ (brief.split('.')[1]), 'base64url').toString()).exp * 1000
      await new Promise((done) => setTimeout(done, Math.max(0, expiry + 500 - Date.now())))
      device.text.insert(0, 'still here')
      await device.whenSaved()
      assert.equal(device.network.opened, 1)
      assert.equal(device.told.authenticationFailed, undefined)
    })
  }

  for (const kind of familiesOf('hocuspocus')) {
    test(`and is not renewed is denied: ${kind.name}`, async (t) => {
      const server = await Server.start(t, { open: false })
      const lasting = await server.token({ user: 'alice' })
      const token = await server.token({ user: 'alice', ttl: '3s' })
      const device = new Device(t, kind, server, { document: 'alice/notes', token })
      await device.whenSynced()
      await device.until(() => device.told.authenticationFailed, 'authenticationFailed')
      device.text.insert(0, 'too late')
      const other = new Device(t, family('y-websocket 3.1.0'), server, { document: 'alice/notes', token: lasting })
      await other.whenSynced()
      other.text.insert(0, 'in time')
      await other.whenSaved()
      assert.equal(other.text.toString(), 'in time')
      assert.equal(device.saved, false)
    })
  }

  for (const kind of families.filter((entry) => entry.dialect !== 'hocuspocus')) {
    test(`ends the connection, and the next one brings a fresh token: ${kind.name}`, async (t) => {
      const server = await Server.start(t, { open: false })
      const lasting = await server.token({ user: 'alice' })
      const brief = await server.token({ user: 'alice', ttl: '3s' })
      const device = new Device(t, kind, server, { document: 'alice/notes', token: brief })
      await device.whenSynced()
      device.renew(lasting)
      await device.until(() => device.network.closes.length > 0, 'the connection ends')
      assert.equal(device.network.closes[0]?.code, 4501)
      await device.until(() => device.network.opened >= 2 && device.synced, 'back with the fresh token')
      device.text.insert(0, 'still here')
      await device.whenSaved()
      assert.equal(device.network.opened, 2)
    })
  }
})

