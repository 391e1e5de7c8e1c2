// @ts-check
/** What becomes of concurrent offline edits: two plain Yjs devices, apart, and back in both orders. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as model from './lib/model.mjs'
import { Household, Person, accepted, begin, equal, indexOf, order, part, preference, rejoin, uuid7, winner } from './lib/model.mjs'
import { Server } from './lib/server.mjs'
import { until } from './lib/wait.mjs'

const HOUR = 3_600_000
const [phone, laptop] = [0, 1]

/**
 * @typedef {object} Apart two devices that both hold the same conversation, and are offline now
 * @property {Household} home
 * @property {[Person, Person]} people phone and laptop
 * @property {[import('./lib/clients.mjs').Device, import('./lib/clients.mjs').Device]} devices with the document under test
 * @property {import('yjs').Doc[]} docs
 * @property {{ question: string, answer: string }} turns
 * @property {string} c the conversation
 */

/** @param {any} map @returns {Record<string, any>} */
const json = (map) => map.toJSON()

/**
 * Runs a case twice: whoever comes back first.
 *
 * @param {string} name
 * @param {(c: string) => string | [string, string]} document the one under test, or the phone's and the laptop's
 * @param {(apart: Apart) => (together: number[]) => Promise<void> | void} act does what both do offline; what it returns checks the outcome
 */
function apart(name, document, act) {
  for (const back of [[phone, laptop], [laptop, phone]]) {
    test(`${name}; the ${back[0] === phone ? 'phone' : 'laptop'} is back first`, async (t) => {
      const home = new Household(t, await Server.start(t, { open: false }))
      const c = home.conversation
      /** @type {[Person, Person]} */
      const people = [new Person('phone'), new Person('laptop')]
      const turns = await begin(home)
      const [one, two = one] = /** @type {string[]} */ ([document(c)].flat())
      const devices = /** @type {Apart['devices']} */ ([await home.open('phone', String(one)), await home.open('laptop', String(two))])
      const docs = devices.map((device) => device.doc)
      await Promise.all(devices.map((device) => device.whenSynced()))
      await part(devices)
      const check = act({ home, people, devices, docs, turns, c })
      for (const who of back) await rejoin(/** @type {any} */ (devices[who]))
      await check(back)
      if (one === two) await equal(devices)
    })
  }
}

const chat = (/** @type {string} */ c) => `c/${c}`

describe('apart', { concurrency: 2 }, () => {
  apart('both rename: the later time wins everywhere, the other is a hint', indexOf, ({ home, people, docs, devices, c }) => {
    const at = Date.now()
    // The laptop's rename is later, whatever the client ids and whoever comes back first.
    people[laptop].set(docs[laptop], 'conversations', `${c}|title`, 'Paris', { at: model.hlc(at + 5) })
    people[phone].set(docs[phone], 'conversations', `${c}|title`, 'Rome', { at: model.hlc(at) })
    return async () => {
      await until(devices, () => docs.every((doc) => winner(doc.getMap('conversations'), `${c}|title`) === 'Paris'), 'Paris')
      const seen = await home.api(c)
      assert.equal(seen.title, 'Paris')
      const hint = { value: 'Rome', writer: people[phone].writer, hlc: model.hlc(at) }
      assert.deepEqual(seen.conflicts.title, [hint])
    }
  })

  apart('both send: both are kept, chained by arrival', chat, ({ home, people, docs, devices, turns }) => {
    // The phone's clock is hours ahead, the laptop's hours behind: neither has a say.
    people[phone].skew = 3 * HOUR
    people[laptop].skew = -3 * HOUR
    const said = docs.map((doc, who) => people[who]?.say(doc, `from ${who}`, { parent: turns.answer })).map(String)
    assert.deepEqual(docs.map((doc) => order(doc).pending), said.map((id) => [id]))
    return async (back) => {
      await Promise.all(devices.map((device) => accepted(device, ...said)))
      const [first, second] = back.map((who) => String(said[who]))
      for (const doc of docs) {
        const { seq, after, pending } = order(doc)
        assert.deepEqual(seq, [turns.question, turns.answer, first, second])
        assert.deepEqual([after[String(first)], after[String(second)]], [turns.answer, first], 'chained, not forked')
        assert.deepEqual(pending, [])
      }
      assert.deepEqual(await home.texts(), ['Where to?', 'Rome.', `from ${back[0]}`, `from ${back[1]}`])
    }
  })

  apart('both regenerate: two more alternatives', chat, ({ home, people, docs, devices, turns }) => {
    const more = docs.map((doc, who) =>
      String(people[who]?.say(doc, `answer ${who}`, { role: 'assistant', parent: turns.question, alt: turns.answer })),
    )
    return async (back) => {
      await Promise.all(devices.map((device) => accepted(device, ...more)))
      for (const doc of docs) assert.deepEqual(more.map((id) => order(doc).after[id]), [turns.question, turns.question])
      const ids = [turns.answer, ...back.map((who) => more[who])]
      const { items } = await home.api(`${home.conversation}/messages`)
      assert.deepEqual(items.map((/** @type {any} */ turn) => turn.id), [turns.question, ids[2]], 'the newest is shown')
      assert.deepEqual([items[1].alternatives.count, items[1].alternatives.ids], [3, ids])
    }
  })

  apart('both regenerate for the same request: one', chat, ({ home, people, docs, devices, turns }) => {
    const more = docs.map((doc, who) =>
      String(people[who]?.say(doc, `answer ${who}`, { role: 'assistant', parent: turns.question, alt: turns.answer, req: 'again' })),
    )
    return async (back) => {
      await Promise.all(devices.map((device) => accepted(device, ...more)))
      const [first, second] = back.map((who) => String(more[who]))
      for (const doc of docs) assert.deepEqual(json(doc.getMap('accepted'))[String(second)], [0, null, { same: first }])
      const { items } = await home.api(`${home.conversation}/messages?branch=all`)
      assert.deepEqual(items.map((/** @type {any} */ turn) => turn.id), [turns.question, turns.answer, first])
    }
  })

  apart('one deletes, the other writes: nothing is lost', (c) => [indexOf(c), chat(c)], ({ home, people, docs, devices, turns, c }) => {
    // The phone deletes what it has seen, two messages; its clock is ahead of the laptop's.
    people[phone].skew = 60_000
    people[phone].set(/** @type {any} */ (docs[phone]), 'conversations', `${c}|deleted`, true, { meta: { seq: 2 } })
    const said = people[laptop].say(/** @type {any} */ (docs[laptop]), 'One more thing', { parent: turns.answer })
    return async () => {
      await accepted(devices[laptop], said)
      const seen = await home.api(c)
      assert.deepEqual([seen.deleted, seen.news, seen.last.preview], [true, true, 'One more thing'])
      assert.deepEqual((await home.api('?deleted=true')).items.map((/** @type {any} */ item) => item.id), [c])
      assert.deepEqual((await home.api('')).items, [])
      assert.deepEqual(await home.texts(), ['Where to?', 'Rome.', 'One more thing'])
      const restored = await home.api(`${c}/restore`, 'POST')
      assert.deepEqual([restored.deleted, restored.news], [false, false])
      await until(devices, () => winner(/** @type {any} */ (docs[phone]).getMap('conversations'), `${c}|deleted`) === false, 'restored on the phone')
    }
  })

  for (const [field, set, shown] of /** @type {[string, [any, any], [string, any]][]} */ ([
    ['pinned', [true, false], ['pinned', false]],
    ['archived', [false, true], ['archived', true]],
    ['folder', ['f1', 'f2'], ['folder', 'f2']],
    ['tag:a@b|c', [true, false], ['tags', []]],
  ])) {
    apart(`both set ${field}: the later time wins`, indexOf, ({ home, people, docs, devices, c }) => {
      const at = Date.now()
      people[laptop].set(/** @type {any} */ (docs[laptop]), 'conversations', `${c}|${field}`, set[1], { at: model.hlc(at, 1) })
      people[phone].set(/** @type {any} */ (docs[phone]), 'conversations', `${c}|${field}`, set[0], { at: model.hlc(at, 0) })
      return async () => {
        await until(devices, () => docs.every((doc) => winner(doc.getMap('conversations'), `${c}|${field}`) === set[1]), 'the later')
        assert.deepEqual((await home.api(c))[shown[0]], shown[1])
      }
    })
  }

  apart('both give feedback: the later time wins', chat, ({ home, people, docs, devices, turns, c }) => {
    const at = Date.now()
    people[phone].set(/** @type {any} */ (docs[phone]), 'feedback', turns.answer, { v: 1 }, { at: model.hlc(at + 9) })
    people[laptop].set(/** @type {any} */ (docs[laptop]), 'feedback', turns.answer, { v: -1, tags: ['wrong'] }, { at: model.hlc(at) })
    return async () => {
      await until(devices, () => docs.every((doc) => winner(doc.getMap('feedback'), turns.answer)?.v === 1), 'the later')
      assert.deepEqual((await home.api(`${c}/messages/${turns.answer}`)).feedback, { v: 1 })
    }
  })

  apart('both choose a branch: the later time wins', chat, ({ home, people, docs, devices, turns, c }) => {
    const more = docs.map((doc, who) =>
      String(people[who]?.say(doc, `answer ${who}`, { role: 'assistant', parent: turns.question, alt: true })),
    )
    const at = Date.now()
    people[phone].set(/** @type {any} */ (docs[phone]), 'selected', turns.question, more[phone], { at: model.hlc(at + 9) })
    people[laptop].set(/** @type {any} */ (docs[laptop]), 'selected', turns.question, turns.answer, { at: model.hlc(at) })
    return async () => {
      await Promise.all(devices.map((device) => accepted(device, ...more)))
      await until(devices, () => docs.every((doc) => winner(doc.getMap('selected'), turns.question) === more[phone]), 'the later')
      assert.deepEqual(await home.texts(), ['Where to?', `answer ${phone}`])
      assert.equal((await home.texts('all')).length, 4)
      await home.api(`${c}/messages/${turns.answer}/select`, 'POST')
      await until(devices, () => docs.every((doc) => winner(doc.getMap('selected'), turns.question) === turns.answer), 'chosen by HTTP')
    }
  })

  apart('a preference set by hand beats one inferred later', () => 'profile', ({ people, docs, devices }) => {
    const at = Date.now()
    people[phone].set(/** @type {any} */ (docs[phone]), 'preferences', 'tone', 'dry', { meta: { source: 'explicit' }, at: model.hlc(at) })
    const inferred = { meta: { source: 'inferred', confidence: 0.9 }, at: model.hlc(at + 99), writer: 'agent:coach' }
    people[laptop].set(/** @type {any} */ (docs[laptop]), 'preferences', 'tone', 'warm', inferred)
    return async () => {
      const dry = { value: 'dry', source: 'explicit', blocked: false }
      const both = () => docs.every((doc) => doc.getMap('preferences').size === 2)
      await until(devices, both, 'both values')
      for (const doc of docs) assert.deepEqual(preference(doc, 'tone'), dry)
    }
  })

  apart('a block stops what is inferred, and clear allows it again', () => 'profile', ({ people, docs, devices }) => {
    const [one, two] = /** @type {[any, any]} */ (docs)
    const at = Date.now()
    const infer = (/** @type {any} */ doc, /** @type {string} */ value, /** @type {number} */ ms) =>
      people[laptop].set(doc, 'preferences', 'tone', value, { meta: { source: 'inferred' }, at: model.hlc(at + ms), writer: 'agent:coach' })
    people[phone].set(one, 'preferences', 'tone', null, { meta: { source: 'explicit', op: 'block' }, at: model.hlc(at) })
    infer(two, 'warm', 50)
    return async () => {
      await until(devices, () => docs.every((doc) => doc.getMap('preferences').size === 2), 'both registers')
      for (const doc of docs) assert.deepEqual(preference(doc, 'tone'), { value: null, source: null, blocked: true })
      people[phone].set(one, 'preferences', 'tone', null, { meta: { source: 'explicit', op: 'clear' }, at: model.hlc(at + 60) })
      infer(one, 'cool', 70)
      await until(devices, () => docs.every((doc) => preference(doc, 'tone').value === 'cool'), 'what was inferred after the clear')
    }
  })

  apart('what is inferred for a time is fresh until then; what lost is a hint', () => 'profile', ({ home, people, docs, devices }) => {
    const at = Date.now()
    const infer = (/** @type {number} */ who, /** @type {string} */ value, /** @type {number} */ ms, /** @type {number} */ ttl) =>
      people[who]?.set(/** @type {any} */ (docs[who]), 'preferences', 'tone', value, { meta: { source: 'inferred', ttl }, at: model.hlc(ms) })
    infer(phone, 'warm', at - 7_200_000, 86_400)
    infer(laptop, 'dry', at - HOUR, 60)
    return async () => {
      await until(devices, () => docs.every((doc) => doc.getMap('preferences').size === 2), 'both values')
      const { items } = await home.api('../preferences')
      assert.deepEqual([items[0].value, items[0].fresh, items[0].ttl], ['dry', false, 60])
      assert.deepEqual(items[0].conflicts.map((/** @type {any} */ hint) => hint.value), ['warm'])
      people[laptop].set(/** @type {any} */ (docs[laptop]), 'preferences', 'tone', null, { meta: { source: 'inferred', op: 'clear' }, at: model.hlc(at - HOUR, 1) })
      infer(phone, 'warm', at, 86_400)
      await devices[laptop].whenSaved()
      await devices[phone].whenSaved()
      const [again] = (await home.api('../preferences')).items
      assert.deepEqual([again.value, again.fresh, again.conflicts ?? []], ['warm', true, []])
    }
  })

  apart('one marks read, the other unread: the later time counts', () => 'marks', ({ home, people, docs, devices, turns, c }) => {
    const at = Date.now()
    people[phone].set(/** @type {any} */ (docs[phone]), 'marks', `${c}|read`, 2, { meta: turns.answer, at: model.hlc(at) })
    people[laptop].set(/** @type {any} */ (docs[laptop]), 'marks', `${c}|read`, 1, { meta: turns.question, at: model.hlc(at + 1) })
    return async () => {
      await until(devices, () => docs.every((doc) => winner(doc.getMap('marks'), `${c}|read`) === 1), 'unread')
      assert.equal((await home.api(c)).unread, 1)
    }
  })

  apart('two marks of one time: the further one counts', () => 'marks', ({ home, people, docs, devices, c }) => {
    const at = model.hlc(Date.now())
    people[phone].set(/** @type {any} */ (docs[phone]), 'marks', `${c}|read`, 1, { at })
    people[laptop].set(/** @type {any} */ (docs[laptop]), 'marks', `${c}|read`, 2, { at })
    return async () => {
      await until(devices, () => docs.every((doc) => doc.getMap('marks').size === 2), 'both marks')
      assert.equal((await home.api(c)).unread, 0)
    }
  })

  apart('two drafts: each device keeps its own; sent twice they are one message', () => 'drafts', ({ home, people, docs, devices, turns, c }) => {
    const [mine, theirs] = people.map((person) => person.writer)
    people[phone].set(/** @type {any} */ (docs[phone]), 'drafts', c, { text: 'from the phone', attachments: [], req: 'r1' })
    // The laptop saw that draft before and goes on with it: the same request, under its own name.
    people[laptop].set(/** @type {any} */ (docs[laptop]), 'drafts', c, { text: 'from the laptop', attachments: [], req: 'r1', takenBy: theirs })
    return async (back) => {
      await until(devices, () => docs.every((doc) => doc.getMap('drafts').size === 2), 'both drafts')
      const texts = Object.entries(json(docs[0]?.getMap('drafts'))).map(([key, [, draft]]) => [key, draft.text])
      assert.deepEqual(texts.sort(), [[`${c}@${mine}`, 'from the phone'], [`${c}@${theirs}`, 'from the laptop']].sort())

      const chats = [await home.open('phone', chat(c)), await home.open('laptop', chat(c))]
      await part(chats)
      const sent = chats.map((device, who) => String(people[who]?.say(device.doc, `sent by ${who}`, { parent: turns.answer, req: 'r1' })))
      for (const who of back) await rejoin(/** @type {any} */ (chats[who]))
      await Promise.all(chats.map((device) => accepted(device, ...sent)))
      assert.deepEqual(await home.texts('all'), ['Where to?', 'Rome.', `sent by ${back[0]}`])
      await until(devices, () => docs.every((doc) => doc.getMap('drafts').size === 0), 'both drafts are done')
      // One that is offered late goes, too; one for another message stays.
      people[phone].set(/** @type {any} */ (docs[phone]), 'drafts', c, { text: 'next', attachments: [], req: 'r2' })
      people[laptop].set(/** @type {any} */ (docs[laptop]), 'drafts', c, { text: 'late', attachments: [], req: 'r1' })
      const stands = () => docs.every((doc) => model.same([...doc.getMap('drafts').keys()], [`${c}@${mine}`]))
      await until(devices, stands, 'the draft that was not sent')
    }
  })

  apart('the same message sent by both: one', chat, ({ home, people, docs, devices, turns }) => {
    const id = uuid7()
    for (const doc of docs) people[phone].say(doc, 'once', { id, parent: turns.answer, req: 'r', at: model.hlc(1_700_000_000_000) })
    return async () => {
      await Promise.all(devices.map((device) => accepted(device, id)))
      await equal(devices)
      assert.deepEqual(await home.texts('all'), ['Where to?', 'Rome.', 'once'])
      assert.equal(await home.metric('heals_total'), 0, 'the same content contradicts nothing')
      const again = await home.api(`${home.conversation}/messages`, 'POST', { id, role: 'user', parts: [{ type: 'text', text: 'once' }] })
      assert.deepEqual([again.id, again.seq], [id, 3])
    }
  })

  apart('the same id with two contents: the first to arrive stays', chat, ({ home, people, docs, devices, turns }) => {
    const id = uuid7()
    docs.forEach((doc, who) => people[who]?.say(doc, `by ${who}`, { id, parent: turns.answer }))
    return async (back) => {
      const text = (/** @type {any} */ doc) => doc.getMap('messages').get(id)?.get('parts')?.[0]?.text
      await until(devices, () => docs.every((doc) => text(doc) === `by ${back[0]}`), () => JSON.stringify(docs.map(text)))
      await Promise.all(devices.map((device) => accepted(device, id)))
      assert.deepEqual(await home.texts('all'), ['Where to?', 'Rome.', `by ${back[0]}`])
    }
  })

  apart('a clock hours ahead: its register is overruled by the time of its arrival', indexOf, ({ home, people, docs, devices, c }) => {
    const field = `${c}|title`
    people[phone].skew = 5 * HOUR
    people[phone].set(/** @type {any} */ (docs[phone]), 'conversations', field, 'Ahead')
    return async () => {
      const keys = (/** @type {import('yjs').Doc} */ doc) => model.registers(doc.getMap('conversations'), field).map(({ writer }) => writer)
      const stamped = () => docs.every((doc) => model.same(keys(doc), ['server']))
      await until(devices, stamped, 'the value moved under the name of the server')
      for (const doc of docs) {
        const [{ writer, time, value }] = /** @type {[any]} */ (model.registers(doc.getMap('conversations'), field))
        assert.deepEqual([writer, value], ['server', 'Ahead'])
        assert.ok(Math.abs(Number(time.slice(0, 13)) - Date.now()) < 60_000, `${time} is the time of arrival`)
      }
      // Whoever renames with a right clock is later.
      people[laptop].set(/** @type {any} */ (docs[laptop]), 'conversations', field, 'Now', { at: model.hlc(Date.now() + 1000) })
      await until(devices, () => docs.every((doc) => winner(doc.getMap('conversations'), field) === 'Now'), 'Now')
      await devices[laptop].whenSaved()
      assert.equal((await home.api(c)).title, 'Now')
    }
  })

  apart('a clock four minutes ahead is believed', indexOf, ({ home, people, docs, devices, c }) => {
    people[phone].skew = 4 * 60_000
    people[phone].set(/** @type {any} */ (docs[phone]), 'conversations', `${c}|title`, 'Ahead')
    people[laptop].set(/** @type {any} */ (docs[laptop]), 'conversations', `${c}|title`, 'Now')
    return async () => {
      await until(devices, () => docs.every((doc) => model.registers(doc.getMap('conversations'), `${c}|title`).length === 2), 'both names')
      assert.equal((await home.api(c)).title, 'Ahead')
    }
  })
})
