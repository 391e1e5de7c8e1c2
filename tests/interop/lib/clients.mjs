// @ts-check
/**
 * The unmodified clients, behind one small interface.
 *
 * A `Device` is one replica with its own network and one provider. `saved` is what that client
 * itself would show; y-websocket 3 shows nothing, so there the wire is read: an edit is saved when
 * its ids came back (PROTOCOL 2), counted exactly as y-websocket's own sync status counts.
 */

import { EventEmitter } from 'node:events'
import * as hocuspocus2 from '@hocuspocus/provider-2'
import * as hocuspocus3 from '@hocuspocus/provider-3'
import * as hocuspocus4 from '@hocuspocus/provider-4'
import { createYjsProvider } from '@y-sweet/client'
import * as yWebsocket4 from '@y/websocket'
import { Awareness as Awareness14 } from '@y/protocols/awareness'
import { Awareness } from 'y-protocols/awareness'
import * as yWebsocket30 from 'y-websocket-3.0'
import * as yWebsocket31 from 'y-websocket-3.1'
import * as yWebsocket31rc from 'y-websocket-3.1-rc'
import { idsOf, mergeIds, noIds, withoutIds, yjs13, yjs14 } from './documents.mjs'
import { Network } from './network.mjs'
import { until } from './wait.mjs'
import { parse } from './wire.mjs'

/**
 * @typedef {object} Options
 * @property {string} document
 * @property {string} [token] what the client presents; `renew` replaces it
 * @property {() => string} [askToken] Hocuspocus and y-sweet: called whenever a token is wanted
 * @property {boolean} [awareness] false: the device takes no part in awareness
 * @property {boolean} [patient] true: the client's own reconnect delays, not the tests' short ones
 * @property {Device} [beside] Hocuspocus: share that device's socket
 * @property {boolean} [sessionAwareness] Hocuspocus 4
 * @property {any} [doc] a document to start with
 * @property {boolean} [offline] start without a network
 * @property {Record<string, string>} [query] further query parameters of the socket's address
 * @property {string[]} [protocols] WebSocket subprotocols
 *
 * @typedef {object} Binding what a family's provider offers the tests
 * @property {any} provider
 * @property {any} awareness
 * @property {() => boolean} saved
 * @property {() => boolean} synced
 * @property {() => void} [retry] tries to connect now rather than after the back-off
 * @property {(token: string) => void} [renew]
 * @property {() => void} destroy
 *
 * @typedef {object} Family
 * @property {string} name
 * @property {'plain' | 'hocuspocus' | 'y-sweet'} dialect
 * @property {boolean} ownIndicator whether the client itself shows "saved"
 * @property {import('./documents.mjs').Yjs} yjs
 * @property {(device: Device, address: string, options: Options) => Binding} bind
 */

export class Device extends EventEmitter {
  /** Events the client told its application, by name. @type {Record<string, any[]>} */
  told = {}

  /**
   * @param {{ after: (fn: () => unknown) => void }} test
   * @param {Family} family
   * @param {{ address: string }} server
   * @param {Options} options
   */
  constructor(test, family, server, options) {
    super()
    this.setMaxListeners(0)
    this.family = family
    this.document = options.document
    this.network = options.beside?.network ?? new Network()
    if (options.query) this.network.query = options.query
    if (options.protocols) this.network.protocols = options.protocols
    if (options.offline) this.network.cut()
    this.doc = options.doc ?? family.yjs.create()
    this.network.on('change', () => this.emit('change'))
    this.doc.on('update', () => this.emit('change'))
    this.binding = family.bind(this, server.address, options)
    this.binding.awareness?.on('change', () => this.emit('change'))
    test.after(() => this.destroy())
  }

  get text() {
    return this.family.yjs.text(this.doc, 'text')
  }

  get keys() {
    return this.family.yjs.keys(this.doc, 'keys')
  }

  /** What the client shows: everything edited here is saved. */
  get saved() {
    return this.binding.saved()
  }

  get synced() {
    return this.binding.synced()
  }

  get clientId() {
    return this.doc.clientID
  }

  /** The whole document as an update. @returns {Uint8Array} */
  state() {
    return this.family.yjs.encode(this.doc)
  }

  /** @param {Uint8Array} update @param {any} [origin] */
  apply(update, origin) {
    this.family.yjs.apply(this.doc, update, origin)
  }

  goOffline() {
    this.network.cut()
  }

  goOnline() {
    this.network.mend()
    this.binding.retry?.()
  }

  /** Names of the other devices seen here. @returns {string[]} */
  others() {
    const names = []
    for (const [id, state] of this.binding.awareness.getStates()) {
      if (id !== this.binding.awareness.clientID) names.push(state.name)
    }
    return names.sort()
  }

  /** @param {string} name */
  introduce(name) {
    this.binding.awareness.setLocalStateField('name', name)
  }

  /** Gives the client another token for its next connection. @param {string} token */
  renew(token) {
    this.binding.renew?.(token)
  }

  /** @param {string} event @param {any} detail */
  tell(event, detail) {
    const list = (this.told[event] ??= [])
    list.push(detail)
    this.emit('change')
  }

  /** @param {() => unknown} condition @param {string | (() => string)} what @param {{ ms?: number, act?: () => unknown }} [options] */
  until(condition, what, options) {
    const text = () => `${this.family.name}: ${typeof what === 'function' ? what() : what}`
    return until(this, condition, text, options)
  }

  whenSynced() {
    return this.until(() => this.synced, 'synced')
  }

  /** `act` runs in the very event that shows "saved". @param {() => unknown} [act] */
  whenSaved(act) {
    return this.until(() => this.synced && this.saved, 'shown as saved', { act })
  }

  destroy() {
    this.network.cut()
    this.binding.destroy()
  }
}

/**
 * Reads the wire of a client that has no indicator: local edits are open until their ids come back
 * in an Update.
 *
 * @param {Device} device
 * @param {() => any} provider
 */
function watchEcho(device, provider) {
  /** @type {any} */
  let open = null
  device.doc.on('update', (/** @type {Uint8Array} */ update, /** @type {any} */ origin) => {
    if (origin === provider()) return
    open = open ? mergeIds([open, idsOf(update)]) : idsOf(update)
  })
  device.network.onReceive = (bytes) => {
    const { kind, bytes: update } = parse(bytes, 'plain')
    if (!open || kind !== 'update' || !update) return
    open = withoutIds(open, idsOf(update))
    if (noIds(open)) open = null
  }
  return () => open === null
}

/**
 * @param {string} name
 * @param {{ WebsocketProvider: any }} module
 * @param {{ yjs?: import('./documents.mjs').Yjs, Presence?: any, ownIndicator?: boolean }} [traits]
 * @returns {Family}
 */
function yWebsocket(name, module, { yjs = yjs13, Presence = Awareness, ownIndicator = false } = {}) {
  return {
    name,
    dialect: 'plain',
    ownIndicator,
    yjs,
    bind(device, address, options) {
      /** @type {any} */
      let provider = null
      const echoed = ownIndicator ? null : watchEcho(device, () => provider)
      const awareness = new Presence(device.doc)
      if (options.awareness === false) awareness.setLocalState(null)
      provider = new module.WebsocketProvider(`ws://${address}/sync`, options.document, device.doc, {
        WebSocketPolyfill: device.network.WebSocket,
        awareness,
        disableBc: true,
        params: options.token ? { token: options.token } : {},
        ...(options.patient ? {} : { maxBackoffTime: 200 }),
      })
      for (const event of ['status', 'sync', 'closed', 'sync-status', 'connection-close']) {
        provider.on(event, (/** @type {any} */ detail) => device.tell(event, detail))
      }
      return {
        provider,
        awareness,
        saved: () => (echoed ? echoed() : provider.syncStatus.localUpdatesSynced),
        synced: () => provider.synced,
        renew: (token) => {
          provider.params = { token }
        },
        destroy: () => {
          provider.destroy()
          awareness.destroy()
        },
      }
    },
  }
}

/**
 * @param {string} name
 * @param {{ HocuspocusProvider: any, HocuspocusProviderWebsocket: any }} module
 * @param {{ sessionAwareness?: boolean }} [traits]
 * @returns {Family}
 */
function hocuspocus(name, module, { sessionAwareness = false } = {}) {
  return {
    name,
    dialect: 'hocuspocus',
    ownIndicator: true,
    yjs: yjs13,
    bind(device, address, options) {
      const delays = options.patient ? {} : { delay: 100, minDelay: 50, maxDelay: 300 }
      const socket =
        options.beside?.binding.provider.configuration.websocketProvider ??
        new module.HocuspocusProviderWebsocket({
          url: `ws://${address}/sync`,
          WebSocketPolyfill: device.network.WebSocket,
          ...delays,
        })
      let token = options.token ?? null
      const provider = new module.HocuspocusProvider({
        websocketProvider: socket,
        name: options.document,
        document: device.doc,
        token: options.askToken ?? (token === null ? null : () => token),
        broadcast: false,
        sessionAwareness: options.sessionAwareness ?? sessionAwareness,
        ...(options.awareness === false ? { awareness: null } : {}),
      })
      const events = ['authenticated', 'authenticationFailed', 'synced', 'unsyncedChanges', 'status', 'close', 'stateless']
      for (const event of events) {
        provider.on(event, (/** @type {any} */ detail) => device.tell(event, detail))
      }
      provider.attach?.()
      return {
        provider,
        awareness: provider.awareness,
        saved: () => !provider.hasUnsyncedChanges,
        synced: () => provider.synced,
        retry: () => socket.connect(),
        renew: (fresh) => {
          token = fresh
        },
        destroy: () => {
          provider.destroy()
          if (!options.beside) socket.destroy()
        },
      }
    },
  }
}

/** @type {Family} */
const ySweet = {
  name: '@y-sweet/client 0.9.1',
  dialect: 'y-sweet',
  ownIndicator: true,
  yjs: yjs13,
  bind(device, address, options) {
    const docId = options.document
    const awareness = new Awareness(device.doc)
    if (options.awareness === false) awareness.setLocalState(null)
    let token = options.token
    let gone = false
    const provider = createYjsProvider(
      device.doc,
      docId,
      async () => {
        // The client has no way to stop for good; a token that never comes ends its retries.
        if (gone) return new Promise(() => {})
        return {
          url: `ws://${address}/d/${docId}/ws`,
          baseUrl: `http://${address}/d/${docId}`,
          docId,
          token: options.askToken?.() ?? token,
        }
      },
      { WebSocketPolyfill: /** @type {any} */ (device.network.WebSocket), awareness, showDebuggerLink: false },
    )
    for (const event of ['connection-status', 'local-changes', 'connection-close']) {
      provider.on(event, (/** @type {any} */ detail) => device.tell(event, detail))
    }
    return {
      provider,
      awareness,
      saved: () => !provider.hasLocalChanges,
      synced: () => provider.status === 'connected',
      retry: () => provider.online(),
      renew: (fresh) => {
        token = fresh
      },
      destroy: () => {
        gone = true
        // @ts-ignore private, but without it the retry loop would outlive the test
        provider.clientToken = null
        provider.disconnect()
        provider.destroy()
        awareness.destroy()
      },
    }
  },
}

/** Every family the server promises to serve. @type {Family[]} */
export const families = [
  yWebsocket('y-websocket 3.0.0', yWebsocket30),
  yWebsocket('y-websocket 3.1.0', yWebsocket31),
  yWebsocket('y-websocket 3.1.0-rc.5', yWebsocket31rc, { ownIndicator: true }),
  yWebsocket('@y/websocket 4.0.0-3', yWebsocket4, { yjs: yjs14, Presence: Awareness14 }),
  hocuspocus('@hocuspocus/provider 2.15.3', hocuspocus2),
  hocuspocus('@hocuspocus/provider 3.4.4', hocuspocus3),
  hocuspocus('@hocuspocus/provider 4.8.0', hocuspocus4),
  hocuspocus('@hocuspocus/provider 4.8.0 with sessionAwareness', hocuspocus4, { sessionAwareness: true }),
  ySweet,
]

/** @param {string} name @returns {Family} */
export function family(name) {
  const found = families.find((entry) => entry.name.endsWith(name))
  if (!found) throw new Error(`no client family ${name}; there are ${families.map((entry) => entry.name).join(', ')}`)
  return found
}

/** @param {string} dialect */
export const familiesOf = (dialect) => families.filter((entry) => entry.dialect === dialect)

/** Keeps the frames a device receives, taken apart. @param {Device} device */
export function listen(device) {
  /** @type {import('./wire.mjs').Frame[]} */
  const frames = []
  const before = device.network.onReceive
  device.network.onReceive = (bytes) => {
    before?.(bytes)
    frames.push(parse(bytes, device.family.dialect === 'hocuspocus' ? 'hocuspocus' : 'plain'))
  }
  return frames
}

/** Waits until all replicas hold the same text and keys. @param {Device[]} devices @param {string} [what] */
export async function converge(devices, what = 'all devices hold the same') {
  const [first, ...rest] = devices
  const same = () => rest.every((device) => device.text.toString() === first?.text.toString())
  await until(devices, same, () => `${what}: ${JSON.stringify(devices.map((device) => [device.family.name, device.text.toString().slice(0, 200)]))}`)
}
