// @ts-check
/** A person's real conversations: imported, gone on with on two devices that were offline, told alike by all, and moved. */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Household, Person, accepted, hlc, indexOf, part, rejoin, user, winner } from './lib/model.mjs'
import { Server, binary } from './lib/server.mjs'
import { all, assertSame, byApi, byExport, byYjs } from './lib/story.mjs'
import { until } from './lib/wait.mjs'

const run = promisify(execFile)
const home = fileURLToPath(new URL('../../', import.meta.url))
const file = join(process.env.SYNCLINE_DATA ?? join(home, '../shared/data'), 'conversations.json')
const skip = existsSync(file) ? false : `no data at ${file} (set SYNCLINE_DATA)`

/** Runs a command for the user, at a server or, where that is down, on its folder. @param {Server} server @param {string[]} args */
async function cli(server, [command, ...args], { offline = false } = {}) {
  const place = offline ? ['--data', server.data] : ['--server', `http://${server.address}`]
  const env = { ...process.env, ...(!offline && { SYNCLINE_TOKEN: await server.token({ user }) }) }
  const { stdout } = await run(binary, [String(command), '--user', user, ...place, ...args], { env, maxBuffer: 64 << 20 })
  return stdout
}

/** @param {string} text */
const lines = (text) => text.trim().split('\n').map((line) => JSON.parse(line))

for (const back of /** @type {('phone' | 'laptop')[]} */ (['phone', 'laptop'])) {
  test(`70 real conversations, two devices apart, one story; the ${back} is back first`, { skip, timeout: 180_000 }, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'syncline-story-'))
    t.after(() => rmSync(folder, { recursive: true, force: true }))
    const server = await Server.start(t, { open: false })
    const house = new Household(t, server)
    const told = lines(await cli(server, ['import', '--json', file]))
    assert.deepEqual([told.at(-1).totals.imported, told.at(-1).totals.failed], [70, 0])

    // One conversation that forks, to go on with; another one to delete.
    const listed = await all(house, '')
    const turnsOf = async (/** @type {string} */ id) => (await all(house, `${id}/messages`)).map((turn) => turn.id)
    const forks = await Promise.all(listed.map(async ({ id }) => [id, (await all(house, `${id}/messages?branch=all`)).length, (await turnsOf(id)).length]))
    const [chat] = forks.find(([, every, shown]) => every > shown && shown > 1) ?? []
    const gone = listed.map(({ id }) => id).find((id) => id !== chat)
    const before = await turnsOf(chat)

    const people = { phone: new Person('phone'), laptop: new Person('laptop') }
    const open = async (/** @type {'phone' | 'laptop'} */ who) => ({
      chat: await house.open(who, `c/${chat}`),
      index: await house.open(who, indexOf(chat)),
      other: await house.open(who, indexOf(gone)),
    })
    const phone = await open('phone')
    const laptop = await open('laptop')
    await part([...Object.values(phone), ...Object.values(laptop)])

    const now = Date.now()
    const tip = /** @type {string} */ (before.at(-1))
    const mine = [people.phone.say(phone.chat.doc, 'From the phone', { parent: tip })]
    mine.push(people.phone.say(phone.chat.doc, 'and more', { parent: mine[0] }))
    const theirs = [people.laptop.say(laptop.chat.doc, 'From the laptop', { parent: tip })]
    people.laptop.set(laptop.index.doc, 'conversations', `${chat}|title`, 'Named on the laptop', { at: hlc(now + 9) })
    people.phone.set(phone.index.doc, 'conversations', `${chat}|title`, 'Named on the phone', { at: hlc(now) })
    people.phone.set(phone.other.doc, 'conversations', `${gone}|deleted`, true, { meta: { seq: (await turnsOf(gone)).length } })

    for (const device of back === 'phone' ? [phone, laptop] : [laptop, phone]) {
      for (const document of Object.values(device)) await rejoin(document)
    }
    const both = [phone, laptop]
    await Promise.all(both.map((device) => accepted(device.chat, ...mine, ...theirs)))
    const titled = () => both.every(({ index }) => winner(index.doc.getMap('conversations'), `${chat}|title`) === 'Named on the laptop')
    await until(both.map(({ index }) => index), titled, 'one title')

    // Each witness tells the same, and what is meant.
    const story = await byApi(house)
    assert.equal(Object.keys(story).length, 70)
    const arrived = back === 'phone' ? [...mine, ...theirs] : [...theirs, ...mine]
    assert.deepEqual(story[chat]?.shown, [...before, ...arrived], 'all turns, by arrival')
    assert.equal(story[chat]?.title, 'Named on the laptop')
    assert.ok((await house.api(chat)).conflicts.title.some((/** @type {any} */ hint) => hint.value === 'Named on the phone'))
    assert.deepEqual(Object.keys(story).filter((id) => story[id]?.deleted), [gone])
    assertSame(await byYjs(t, server, Object.keys(story)), story, 'a plain Yjs client')
    const archive = join(folder, 'live.zip')
    await cli(server, ['export', '--to', archive])
    assertSame(byExport(readFileSync(archive)), story, 'an export')

    // Importing the file again takes nothing of it back.
    assert.equal(lines(await cli(server, ['import', '--json', file])).at(-1).unchanged, 70)
    assertSame(await byApi(house), story, 'the API after another import')

    // An empty server tells the same once it has the archive.
    const empty = await Server.start(t, { open: false })
    const restored = lines(await cli(empty, ['import', '--json', archive])).at(-1)
    assert.deepEqual([restored.totals.imported, restored.totals.failed, restored.left], [70, 0, []])
    assertSame(await byApi(new Household(t, empty)), story, 'the server that was empty')
    assertSame(await byYjs(t, empty, Object.keys(story)), story, 'a plain Yjs client of it')

    for (const one of [server, empty]) {
      assert.equal(await one.term(), 0)
      const { stdout } = await run(binary, ['verify', '--data', one.data])
      assert.match(stdout, /all of it is whole/)
    }
    const still = join(folder, 'still.zip')
    await cli(server, ['export', '--to', still], { offline: true })
    assertSame(byExport(readFileSync(still)), story, 'an export of the folder')
  })
}
