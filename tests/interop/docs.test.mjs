// @ts-check
/**
 * What the pages show is what runs: every block of code has a test that runs or compiles it, every link leads somewhere,
 * every command of the operating notes does what it says.
 */

import assert from 'node:assert/strict'
import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Server, binary } from './lib/server.mjs'

const run = promisify(execFile)
const home = fileURLToPath(new URL('../../', import.meta.url))
const here = fileURLToPath(new URL('.', import.meta.url))
const COMMAND_MS = 60_000

const pages = [
  ...['README.md', 'ARCHITECTURE.md', 'CHANGELOG.md', 'benches/README.md', 'web-demo/sdk/README.md'],
  ...readdirSync(join(home, 'docs')).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`),
]
/** @param {string} page */
const read = (page) => readFileSync(join(home, page), 'utf8')

/** @param {string} page @param {string} [language] */
function blocks(page, language) {
  const all = [...read(page).matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, name = '', text = '']) => ({ name, text }))
  return language === undefined ? all : all.filter(({ name }) => name === language)
}

/** Who runs the blocks of a page, or compiles them. */
const KEPT = {
  'README.md': { js: 'below', sh: 'below' },
  'benches/README.md': { sh: 'by hand: measuring needs a quiet machine' },
  'docs/blobs.md': { json: 'below', sh: 'below' },
  'docs/events.md': { '': 'below' },
  'docs/operating.md': { ini: 'below', sh: 'below', toml: 'below' },
  'docs/plain-yjs.md': { js: 'plain.test.mjs' },
  'docs/quick-start.md': { html: 'web-demo/e2e/quickstart.test.mjs', js: 'the same', sh: 'the same' },
  'docs/rust-client.md': { rust: 'doc tests of crates/client', sh: 'its example is built with the crate', toml: 'below' },
  'web-demo/sdk/README.md': { ts: 'web-demo/sdk/test/readme.test.mjs', tsx: 'the same' },
}

test('every block of code is run or compiled by a test', () => {
  for (const page of pages) {
    const kept = KEPT[/** @type {keyof typeof KEPT} */ (page)] ?? {}
    const shown = [...new Set(blocks(page).map(({ name }) => name))].sort()
    assert.deepEqual(shown, Object.keys(kept).sort(), `${page}: have a new kind of block run by a test, and name that here`)
  }
})

test('every link leads to a file, and to a heading that is there', () => {
  const anchor = (/** @type {string} */ heading) =>
    heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-')
  for (const page of pages) {
    const text = read(page).replace(/^```.*?^```$/gms, '').replace(/`[^`\n]*`/g, (code) => code.replaceAll('](', ''))
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const [path = '', fragment] = target.split('#')
      const file = path === '' ? page : join(dirname(page), path)
      assert.ok(existsSync(join(home, file)), `${page} links to ${target}, which is not there`)
      if (fragment === undefined) continue
      const headings = [...read(file).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => anchor(heading))
      assert.ok(headings.includes(fragment), `${page} links to ${target}, but ${file} has no such heading`)
    }
  }
})

test('every metric that the pages name is listed', () => {
  const names = (/** @type {string} */ page) => new Set(read(page).match(/\bsyncline_[a-z_]+(?=[\s`{\[])/g))
  const listed = names('docs/metrics.md')
  const alerts = names('docs/operating.md')
  assert.ok(alerts.size > 5)
  for (const name of alerts) assert.ok(listed.has(name), `${name} is not in docs/metrics.md`)
})

test('data on the pages is well formed', () => {
  for (const { text } of blocks('docs/blobs.md', 'json')) assert.equal(JSON.parse(text).type, 'file')
  for (const { text } of blocks('docs/events.md')) {
    const [event, id, data] = text.trim().split('\n').map((line) => line.slice(line.indexOf(':') + 2))
    assert.equal(JSON.parse(data ?? '').type, event)
    assert.ok(id)
  }
  const path = /path = "(.*)"/.exec(blocks('docs/rust-client.md', 'toml')[0]?.text ?? '')?.[1]
  assert.match(read(`${path}/Cargo.toml`), /^name = "syncline-client"$/m)
  assert.ok(existsSync(join(home, `${path}/examples/chat.rs`)))
})

test('the first lines of the README print "saved"', async (t) => {
  const server = await Server.start(t, { open: false })
  const [block] = blocks('README.md', 'js')
  const socket = "import WebSocket from 'ws'\nglobalThis.WebSocket ??= WebSocket\n"
  const program = join(here, `readme-${process.pid}.mjs`)
  t.after(() => rmSync(program))
  writeFileSync(program, socket + block?.text.replace('127.0.0.1:8787', server.address))
  const TOKEN = await server.token({ user: 'ada', device: 'laptop' })
  const child = execFile(process.execPath, [program], { env: { ...process.env, TOKEN } })
  t.after(() => child.kill())
  await new Promise((done, fail) => {
    let out = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (text) => {
        out += text
        if (/^saved$/m.test(out)) done(out)
      })
    }
    child.once('exit', (code) => fail(new Error(`ended with ${code}: ${out}`)))
  })
})

/**
 * Runs commands as a person would type them, the first that fails ends them.
 *
 * @param {string} text
 * @param {Record<string, string>} variables
 * @param {string} folder
 */
async function shell(text, variables, folder) {
  const tools = join(folder, 'bin')
  if (!existsSync(tools)) {
    mkdirSync(tools)
    symlinkSync(binary, join(tools, 'syncline'))
  }
  const env = { ...process.env, ...variables, PATH: `${tools}:${process.env.PATH}` }
  const { stdout } = await run('bash', ['-euc', text], { cwd: folder, env, timeout: COMMAND_MS })
  return stdout
}

/** A folder of the test's own. @param {{ after: (fn: () => unknown) => void }} t */
function scratch(t) {
  const folder = mkdtempSync(join(tmpdir(), 'syncline-docs-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

test('the service file and its configuration are those that the page shows, and start a server', async (t) => {
  const [unit, config] = ['deploy/syncline.service', 'deploy/syncline.toml'].map(read)
  assert.deepEqual(blocks('docs/operating.md', 'ini').map(({ text }) => text), [unit])
  assert.deepEqual(blocks('docs/operating.md', 'toml').map(({ text }) => text), [config])
  const folder = scratch(t)
  const command = /^ExecStart=(\S+) (.*)$/m.exec(unit ?? '')
  assert.equal(command?.[1], '/usr/local/bin/syncline')
  assert.equal(command?.[2], 'serve --config /etc/syncline/syncline.toml')
  const gib = Number(/^LimitAS=(\d+)G$/m.exec(unit ?? '')?.[1])
  assert.ok(gib > 0)
  writeFileSync(join(folder, 'syncline.toml'), config ?? '')
  // A shell sets the limit that the service would set.
  const serve = `ulimit -v ${gib << 20}; exec "$0" serve --config syncline.toml --listen 127.0.0.1:0 --data data`
  const child = spawn('bash', ['-c', serve, binary], { cwd: folder, stdio: ['ignore', 'pipe', 'ignore'] })
  t.after(() => child.kill('SIGKILL'))
  const ended = once(child, 'exit')
  const [ready] = await Promise.race([once(child.stdout, 'data'), ended])
  assert.match(String(ready), /^syncline ready on http/)
  child.kill('SIGTERM')
  assert.deepEqual(await ended, [0, null])

  if (spawnSync('systemd-analyze', ['--version']).error) return t.diagnostic('not checked: no systemd-analyze here')
  const file = join(folder, 'syncline.service')
  writeFileSync(file, (unit ?? '').replace('/usr/local/bin/syncline', binary))
  const checked = spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' })
  assert.equal(checked.status, 0, checked.stderr)
})

test('the commands of the operating notes do what they say, in their order', async (t) => {
  const server = await Server.start(t, { open: false })
  const folder = scratch(t)
  const [BACKUPS, URL] = [join(folder, 'backups'), `http://${server.address}`]
  mkdirSync(BACKUPS, { recursive: true })
  const at = { DATA: server.data, URL, BACKUPS }
  const [token, backup, restore, erased, compact, moved] = blocks('docs/operating.md', 'sh').map(({ text }) => text)
  assert.equal(blocks('docs/operating.md', 'sh').length, 6)

  const TOKEN = (await shell(token ?? '', at, folder)).trim()
  /** @param {string} path @param {any} body */
  const api = async (path, body) => {
    const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' }
    const options = { method: 'POST', headers, body: JSON.stringify(body) }
    const answer = await fetch(`${URL}/v1/users/ada${path}`, options)
    assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`)
    return answer.json()
  }
  const kept = await api('/conversations', { title: 'Kept' })
  const gone = await api('/conversations', { title: 'Erased' })

  // The page on files, on this server: what it stores is in the backup.
  const isUploading = !spawnSync('curl', ['--version']).error
  if (!isUploading) t.diagnostic('not run: the page on files, for want of curl')
  writeFileSync(join(folder, 'cat.png'), 'a cat')
  if (isUploading) await shell(blocks('docs/blobs.md', 'sh')[0]?.text ?? '', { ...at, TOKEN }, folder)

  await shell(backup ?? '', at, folder)
  const [NEW, SCRATCH, OLD] = ['new', 'scratch', 'old'].map((name) => join(folder, name))
  const whole = new RegExp(`${Number(isUploading)} blobs: all of it is whole`)
  assert.match(await shell(restore ?? '', { ...at, NEW: NEW ?? '' }, folder), whole)

  await api(`/conversations/${gone.id}/erase`, {})
  await shell((backup ?? '').replace('monday', 'newest'), at, folder)
  await shell(erased ?? '', { ...at, SCRATCH: SCRATCH ?? '', NEW: OLD ?? '' }, folder)
  assert.match(readFileSync(join(BACKUPS, 'erasures'), 'utf8'), new RegExp(gone.id))

  await shell(moved ?? '', { ...at, SYNCLINE_TOKEN: TOKEN }, folder)
  await server.term()
  assert.match(await shell(compact ?? '', at, folder), new RegExp(`ada/c/${kept.id}`))
})
