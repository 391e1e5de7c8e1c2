// A chat client on plain Yjs: sends a turn, reads the order, renames. docs/plain-yjs.md says why each line is as it is.
// node plain-model.mjs 127.0.0.1:8787 TOKEN CONVERSATION TEXT TITLE
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import WebSocket from 'ws'
import * as Y from 'yjs'

const [server, token, conversation, text, title] = process.argv.slice(2)
const { sub: user, device } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString())
const writer = `${device}.${crypto.randomUUID()}`
const says = Date.parse((await fetch(`http://${server}/healthz`)).headers.get('date'))
const ahead = Math.abs(says - Date.now()) < 2000 ? 0 : says - Date.now()
const now = () => Date.now() + ahead

let last = '0000000000000-0000'
function hlc(seen = []) { // later than all that this writer wrote or saw, but never drawn into the future
  const most = [last, ...seen.filter((time) => time.slice(0, 13) <= now() + 300_000)].sort().at(-1)
  const [ms, count] = [Number(most.slice(0, 13)), parseInt(most.slice(14), 16) + 1]
  const next = count > 0xffff ? `${ms + 1}-0000` : `${most.slice(0, 13)}-${count.toString(16).padStart(4, '0')}`
  return (last = [next, `${now()}-0000`].sort().at(-1))
}
function registers(map, field) { // the values of one field, the one that counts first
  const own = ([key, value]) => key.slice(0, key.lastIndexOf('@')) === field && value?.[0]?.length === 18
  return [...map].filter(own).sort(([a, [x]], [b, [y]]) => (x < y || (x === y && a < b) ? 1 : -1)).map(([, value]) => value)
}
const set = (map, field, value) => map.set(`${field}@${writer}`, [hlc(registers(map, field).map(([time]) => time)), value])

function order(doc) { // the branch that is shown, then what waits to be accepted
  const [messages, accepted, selected, hidden] = ['messages', 'accepted', 'selected', 'hidden'].map((root) => doc.getMap(root))
  const placed = [...accepted].filter(([, place]) => place?.[0] > 0).sort(([, [a]], [, [b]]) => a - b)
  const branch = []
  for (let after = null, next; (next = placed.filter(([, place]) => place[1] === after)).length; after = branch.at(-1)) {
    const named = registers(selected, after ?? 'root')[0]?.[1]
    const chosen = accepted.get(named)?.[2]?.same ?? named
    branch.push((next.find(([id]) => id === chosen) ?? next.at(-1))[0])
  }
  const time = (id) => messages.get(id)?.get?.('head')?.at
  const waiting = [...messages.keys()].filter((id) => time(id) && !accepted.has(id))
  waiting.sort((a, b) => (`${time(a)} ${a}` < `${time(b)} ${b}` ? -1 : 1))
  return [...branch.filter((id) => registers(hidden, id)[0]?.[1] !== true), ...waiting]
}
const websocketProvider = new HocuspocusProviderWebsocket({ url: `ws://${server}/sync`, WebSocketPolyfill: WebSocket })
const open = (name) => new Promise((done) => {
  const provider = new HocuspocusProvider({ websocketProvider, name: `${user}/${name}`, token, onSynced: () => done(provider) })
  provider.attach()
})
const saved = (provider) => new Promise((done) => provider.on('unsyncedChanges', ({ number }) => number === 0 && done()))
const made = new Date(parseInt(conversation.replace('-', '').slice(0, 12), 16))
const { document: chat } = await open(`c/${conversation}`)
const index = await open(`index/${made.getUTCFullYear()}-q${Math.floor(made.getUTCMonth() / 3) + 1}`)
const id = `${now().toString(16).padStart(12, '0').replace(/.{8}/, '$&-')}-7${crypto.randomUUID().slice(15)}`
const head = { role: 'user', parent: order(chat).at(-1) ?? null, by: writer, at: hlc(), req: id }
const message = new Y.Map([['head', head], ['parts', [{ type: 'text', text }]]])
const meta = Object.entries({ v: 1, id: conversation, owner: user, createdAt: made.getTime() })
for (const [key, value] of meta) if (!chat.getMap('meta').has(key)) chat.getMap('meta').set(key, value)
if (!chat.getMap('messages').has(id)) chat.getMap('messages').set(id, message)
set(index.document.getMap('conversations'), `${conversation}|title`, title)
const isAccepted = new Promise((done) => chat.on('update', () => chat.getMap('accepted').has(id) && done()))
await Promise.all([isAccepted, saved(index)])
for (const id of order(chat)) console.log(JSON.stringify([id, chat.getMap('messages').get(id).toJSON()]))
process.exit()
