// @ts-check
/** Clients that write in a loop what has to be healed are closed and stay out; those that do not are not. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Device, families, family } from './lib/clients.mjs'
import { Household, Person, accepted, begin, indexOf, read, user } from './lib/model.mjs'
import { Server } from './lib/server.mjs'
import { realTime } from './lib/wait.mjs'

/** @param {Device} device */
const closes = (device) => device.network.closes.map(({ code }) => code)

/**
 * Writes again whenever it is healed; gives the number of times.
 *
 * @param {Device} device
 * @param {string} message whose text is "Rome."
 */
function loop(device, message) {
  let rewritten = 0
  const rewrite = () => {
    const container = device.doc.getMap('messages').get(message)
    if (container?.get('parts')?.[0]?.text !== 'Rome.') return
    rewritten += 1
    container.set('parts', [{ type: 'text', text: `Paris ${rewritten}` }])
  }
  device.doc.on('update', (/** @type {any} */ _, /** @type {any} */ origin) => origin && queueMicrotask(rewrite))
  rewrite()
  return () => rewritten
}

for (const client of ['y-websocket 3.1.0', '@hocuspocus/provider 4.8.0']) {
  test(`who rewrites in a loop is closed after 20 heals, and then not heard: ${client}`, async (t) => {
    const home = new Household(t, await Server.start(t, { open: false }))
    const { answer } = await begin(home)
    const document = `c/${home.conversation}`
    const laptop = await home.open('laptop', document, '@hocuspocus/provider 4.8.0')
    const before = read(laptop.doc)
    const texts = await home.texts()

    const phone = await home.open('phone', document, client)
    const rewritten = loop(phone, answer)
    await phone.until(() => closes(phone).includes(4403), () => `closed, after ${rewritten()}: ${closes(phone)}`)
    phone.destroy()
    assert.equal(rewritten(), 21)
    assert.equal(await home.metric('heals_total'), 21)

    const again = await home.open('phone', document, client)
    loop(again, answer)
    const refused = () => home.metric('refusals_total\\{reason="set_aside"\\}')
    await laptop.until(async () => (await refused()) >= 1, 'what it writes when it is back is not taken')
    assert.equal(await home.metric('heals_total'), 21)
    again.destroy()

    const person = new Person('laptop')
    const said = person.say(laptop.doc, 'Still here', { parent: answer })
    await accepted(laptop, said)
    await laptop.whenSaved()
    laptop.doc.getMap('messages').delete(said)
    await laptop.until(() => laptop.doc.getMap('messages').has(said), 'others are healed as before')
    const after = read(laptop.doc)
    assert.deepEqual({ ...after, messages: { ...after.messages, [said]: undefined }, accepted: before.accepted }, {
      ...before,
      messages: { ...before.messages, [said]: undefined },
    })
    assert.deepEqual(await home.texts(), [...texts, 'Still here'])
    assert.deepEqual(closes(laptop), [])
  })
}

describe('who was closed for a loop', { concurrency: 3 }, () => {
  for (const kind of families.filter((entry) => entry.yjs.create().getMap)) {
    test(`is not let in again at once: ${kind.name}`, async (t) => {
      const server = await Server.start(t, { open: false })
      const home = new Household(t, server)
      const { answer } = await begin(home)
      const token = await server.token({ user, device: 'phone' })
      const phone = new Device(t, kind, server, { document: `${user}/c/${home.conversation}`, token, patient: true })
      await phone.whenSynced()
      loop(phone, answer)
      await phone.until(() => closes(phone).includes(4403), 'closed')
      await realTime(3000)
      t.diagnostic(`${kind.name}: ${phone.network.opened} connections, ${await home.metric('heals_total')} heals`)
      assert.ok((await home.metric('heals_total')) <= 21, `${await home.metric('heals_total')} heals`)
      assert.ok(phone.network.opened <= 5, `${phone.network.opened} connections`)
    })
  }
})

describe('who does not write in a loop', { concurrency: 3 }, () => {
  test('is not closed for a clock that is wrong', async (t) => {
    const home = new Household(t, await Server.start(t, { open: false }))
    await begin(home)
    const phone = await home.open('phone', indexOf(home.conversation))
    const map = phone.doc.getMap('conversations')
    const person = new Person('phone')
    person.skew = 3_600_000
    for (let n = 0; n < 30; n += 1) person.set(phone.doc, 'conversations', `${home.conversation}|tag:${n}`, true)
    const stamped = () => [...map.keys()].filter((key) => key.endsWith('@server')).length
    await phone.until(() => stamped() === 30 || closes(phone).length > 0, () => `${stamped()} are stamped`)
    assert.deepEqual(closes(phone), [])
    await phone.whenSaved()
    assert.equal((await home.api(home.conversation)).tags.length, 30)
  })

  test('is not closed for one deletion of many messages', async (t) => {
    const home = new Household(t, await Server.start(t, { open: false }))
    const { answer } = await begin(home)
    const phone = await home.open('phone', `c/${home.conversation}`)
    const messages = phone.doc.getMap('messages')
    const person = new Person('phone')
    for (let n = 0; n < 30; n += 1) person.say(phone.doc, `${n}`, { parent: answer })
    await accepted(phone, ...messages.keys())
    const before = read(phone.doc)
    phone.doc.transact(() => [...messages.keys()].forEach((id) => messages.delete(id)))
    await phone.until(() => messages.size === 32 || closes(phone).length > 0, 'healed')
    assert.deepEqual(closes(phone), [])
    await phone.whenSaved()
    assert.deepEqual(read(phone.doc), before)
  })

  test('is not closed for what another client without a device did', async (t) => {
    const server = await Server.start(t)
    const home = new Household(t, server)
    const { answer } = await begin(home)
    const document = `${user}/c/${home.conversation}`
    const [culprit, other] = [0, 1].map(() => new Device(t, family('y-websocket 3.1.0'), server, { document }))
    if (!culprit || !other) throw new Error('two devices')
    await Promise.all([culprit, other].map((device) => device.whenSynced()))
    loop(culprit, answer)
    await culprit.until(() => closes(culprit).includes(4403), 'closed')
    other.doc.getMap('state').set(answer, ['error'])
    await other.until(() => !other.doc.getMap('state').has(answer) || closes(other).length > 0, 'healed')
    // The close, if there is one, comes before the answer to this.
    other.doc.getMap('mark').set('n', 1)
    await other.until(() => other.saved || closes(other).length > 0, 'an answer')
    assert.deepEqual(closes(other), [])
  })
})
