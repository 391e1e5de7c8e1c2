// @ts-check
/** The page for plain Yjs clients: its program is the file that is run here, and it does what the page says. */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Household, indexOf, user } from './lib/model.mjs'
import { Server } from './lib/server.mjs'

const run = promisify(execFile)
const program = fileURLToPath(new URL('plain-model.mjs', import.meta.url))
const page = fileURLToPath(new URL('../../docs/plain-yjs.md', import.meta.url))

test('the page shows exactly the program, of at most 60 lines', () => {
  const source = readFileSync(program, 'utf8')
  const block = /^```js\n(.*?)^```$/ms.exec(readFileSync(page, 'utf8'))
  assert.equal(block?.[1], source)
  assert.ok(source.trimEnd().split('\n').length <= 60, 'at most 60 lines')
})

test('the program makes a conversation, goes on with it, and renames it', async (t) => {
  const server = await Server.start(t, { open: false })
  const home = new Household(t, server)
  const id = home.conversation
  const chat = async (/** @type {string} */ device, /** @type {string} */ text, /** @type {string} */ title) => {
    const token = await server.token({ user, device })
    const { stdout } = await run(process.execPath, [program, server.address, token, id, text, title])
    return stdout.trim().split('\n').map((line) => JSON.parse(line))
  }
  const first = await chat('phone', 'Where to?', 'Trip')
  assert.deepEqual(first.map(([, { parts }]) => parts), [[{ type: 'text', text: 'Where to?' }]])
  await home.api(`${id}/messages`, 'POST', { role: 'assistant', parts: [{ type: 'text', text: 'Rome.' }] })
  const second = await chat('laptop', 'And then?', 'Trip to Rome')
  assert.deepEqual(second.map(([, { parts }]) => parts[0].text), ['Where to?', 'Rome.', 'And then?'])

  const seen = await home.api(id)
  assert.equal(seen.title, 'Trip to Rome')
  assert.deepEqual(seen.conflicts.title.map((/** @type {any} */ hint) => hint.value), ['Trip'])
  assert.equal(seen.last.preview, 'And then?')
  const { items } = await home.api(`${id}/messages`)
  assert.deepEqual(items.map((/** @type {any} */ turn) => turn.id), second.map(([at]) => at), 'the same order')
  assert.deepEqual(items.map((/** @type {any} */ turn) => turn.seq), [1, 2, 3])
  assert.deepEqual(items.map((/** @type {any} */ turn) => turn.parent), [null, ...second.slice(0, 2).map(([at]) => at)])
  assert.match(items[2].by, /^laptop\./)
  const { items: list } = await home.api('')
  assert.deepEqual(list.map((/** @type {any} */ item) => item.id), [id], `listed from ${indexOf(id)}`)
})
