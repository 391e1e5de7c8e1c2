// @ts-check
/** Rich text editors bind to free-form documents: y-prosemirror and y-quill, each over two families. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { JSDOM } from 'jsdom'
import { Device, family } from './lib/clients.mjs'
import { Server } from './lib/server.mjs'
import { until } from './lib/wait.mjs'

const page = new JSDOM('<!doctype html><body></body>', { pretendToBeVisual: true })
const { window } = page
// Both editors look for a browser when they are loaded.
Object.assign(globalThis, {
  window,
  document: window.document,
  navigator: window.navigator,
  getSelection: () => window.getSelection(),
})
for (const name of ['Node', 'Element', 'HTMLElement', 'MutationObserver', 'DOMParser', 'KeyboardEvent', 'Text', 'Range']) {
  // @ts-ignore a browser's globals
  globalThis[name] = window[name]
}
for (const name of ['requestAnimationFrame', 'cancelAnimationFrame']) {
  // @ts-ignore a browser's globals
  globalThis[name] = window[name].bind(window)
}
const rects = () => Object.assign([], { item: () => null })
window.Range.prototype.getClientRects = /** @type {any} */ (rects)
window.Range.prototype.getBoundingClientRect = () => new window.DOMRect()

test('y-prosemirror documents converge between two families, live and after offline edits', async (t) => {
  const { ySyncPlugin } = await import('y-prosemirror')
  const { schema } = await import('prosemirror-schema-basic')
  const { EditorState } = await import('prosemirror-state')
  const { EditorView } = await import('prosemirror-view')
  const server = await Server.start(t)
  const open = async (/** @type {string} */ name) => {
    const device = new Device(t, family(name), server, { document: 'essay' })
    await device.whenSynced()
    const type = device.doc.getXmlFragment('prosemirror')
    const host = window.document.body.appendChild(window.document.createElement('div'))
    const view = new EditorView(/** @type {any} */ (host), { state: EditorState.create({ schema, plugins: [ySyncPlugin(type)] }) })
    t.after(() => view.destroy())
    return { device, view, type }
  }
  const a = await open('@hocuspocus/provider 4.8.0')
  const b = await open('y-websocket 3.1.0')
  const same = () => a.type.toString() === b.type.toString()

  a.view.dispatch(a.view.state.tr.insertText('Hello world', 1))
  a.view.dispatch(a.view.state.tr.addMark(1, 6, schema.mark('strong')))
  await until([a.device, b.device], () => same() && b.type.toString().includes('world'), 'the live edit')
  await new Promise((done) => setImmediate(done))
  assert.match(JSON.stringify(b.view.state.doc.toJSON()), /"strong"/)

  b.device.goOffline()
  b.view.dispatch(b.view.state.tr.split(6))
  a.view.dispatch(a.view.state.tr.insertText('!', 12))
  b.device.goOnline()
  await until(
    [a.device, b.device],
    () => same() && a.view.state.doc.childCount === 2 && a.view.state.doc.textContent === b.view.state.doc.textContent,
    () => `the merge: ${a.type} / ${b.type}`,
  )
  // A split moves the second half into a new paragraph: the other's "!" stays where its text was.
  assert.match(a.view.state.doc.textContent, /^Hello!? world!?$/)
  assert.match(a.view.state.doc.textContent, /!/)
  assert.deepEqual(a.view.state.doc.toJSON(), b.view.state.doc.toJSON())
  await Promise.all([a.device.whenSaved(), b.device.whenSaved()])
})

test('y-quill documents converge between two families, live and after offline edits', async (t) => {
  const { default: Quill } = await import('quill')
  const { QuillBinding } = await import('y-quill')
  const server = await Server.start(t)
  const open = async (/** @type {string} */ name) => {
    const device = new Device(t, family(name), server, { document: 'letter' })
    await device.whenSynced()
    const host = window.document.body.appendChild(window.document.createElement('div'))
    const quill = new Quill(/** @type {any} */ (host))
    const binding = new QuillBinding(device.doc.getText('quill'), quill, device.binding.awareness)
    t.after(() => binding.destroy())
    return { device, quill }
  }
  const a = await open('@y-sweet/client 0.9.1')
  const b = await open('@hocuspocus/provider 3.4.4')
  const contents = (/** @type {any} */ side) => JSON.stringify(side.quill.getContents().ops)
  const same = () => contents(a) === contents(b)

  a.quill.insertText(0, 'Dear reader', { bold: true }, 'user')
  await until([a.device, b.device], () => same() && b.quill.getText().includes('Dear reader'), 'the live edit')
  a.device.goOffline()
  a.quill.insertText(11, ', sincerely', 'user')
  b.quill.formatText(0, 4, { italic: true }, 'user')
  b.quill.insertText(0, 'P.S. ', 'user')
  a.device.goOnline()
  const merged = () => same() && a.quill.getText().includes('P.S. Dear reader, sincerely')
  await until([a.device, b.device], merged, () => `the merge: ${contents(a)} / ${contents(b)}`)
  assert.match(contents(b), /"italic":true/)
  await Promise.all([a.device.whenSaved(), b.device.whenSaved()])
})
