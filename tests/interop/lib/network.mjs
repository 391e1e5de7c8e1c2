// @ts-check
/**
 * The network of one device. Clients get its `WebSocket` instead of the browser's: it counts
 * connections, can be cut, and can hold back what the server sends. The clients themselves stay
 * as they come from npm.
 */

import { EventEmitter } from 'node:events'
import WS from 'ws'

/** Nothing listens on the discard port: a device without a network is refused at once. */
const NOWHERE = 'ws://127.0.0.1:9'

/** @typedef {(frame: Uint8Array) => void} FrameListener */

export class Network extends EventEmitter {
  /** Connections the server accepted. */
  opened = 0
  /** Connections tried while the network was up. */
  tried = 0
  /** Closes that the server or the network caused. @type {{ code: number, reason: string }[]} */
  closes = []
  /** HTTP statuses of refused upgrades. @type {number[]} */
  refused = []
  /** Sees every frame just before the client does. @type {FrameListener | null} */
  onReceive = null
  /** Sees every frame that the client sends. @type {FrameListener | null} */
  onSend = null
  /** Query parameters for clients that offer no option of their own. @type {Record<string, string>} */
  query = {}
  /** Subprotocols for clients that offer no option of their own. @type {string[]} */
  protocols = []

  /** @type {Set<WS>} */
  #sockets = new Set()
  #up = true
  /** Frames held back, in order; `null` while they flow. @type {{ socket: WS, frame: Uint8Array, pass: () => void }[] | null} */
  #held = null

  constructor() {
    super()
    this.setMaxListeners(0)
    this.WebSocket = socketOf(this)
  }

  get up() {
    return this.#up
  }

  /** How many sockets are open now. */
  get open() {
    return [...this.#sockets].filter((socket) => socket.readyState === WS.OPEN).length
  }

  /** Drops every connection and refuses new ones, as a lost network does. */
  cut() {
    this.#up = false
    for (const socket of this.#sockets) socket.terminate()
  }

  /** Lets the client find the server again when it next tries. */
  mend() {
    this.#up = true
  }

  /** Drops every connection, once. */
  drop() {
    for (const socket of this.#sockets) socket.terminate()
  }

  /** Holds back what the server sends from now on, or lets it flow again. @param {boolean} hold */
  hold(hold) {
    if (hold) {
      this.#held ??= []
      return
    }
    const held = this.#held ?? []
    this.#held = null
    for (const { pass } of held) pass()
  }

  /** The oldest frame held back, if any. */
  get next() {
    return this.#held?.[0]?.frame
  }

  /** Hands the oldest frame held back to the client. */
  release() {
    this.#held?.shift()?.pass()
  }

  /** @param {string | URL} address @returns {string} */
  route(address) {
    this.tried += this.#up ? 1 : 0
    if (!this.#up) return NOWHERE
    const url = new URL(address)
    for (const [key, value] of Object.entries(this.query)) url.searchParams.set(key, value)
    return url.toString()
  }

  /** @param {WS} socket */
  adopt(socket) {
    const real = this.#up
    this.#sockets.add(socket)
    socket.on('open', () => {
      this.opened += 1
      this.changed()
    })
    socket.on('error', (error) => {
      const status = /Unexpected server response: (\d+)/.exec(error.message)
      if (status) this.refused.push(Number(status[1]))
      this.changed()
    })
    socket.on('close', (code, reason) => {
      this.#sockets.delete(socket)
      if (this.#held) this.#held = this.#held.filter((entry) => entry.socket !== socket)
      if (real) this.closes.push({ code, reason: reason.toString() })
      setImmediate(() => this.changed())
    })
  }

  /** @param {WS} socket @param {Uint8Array} frame @param {() => void} deliver */
  receive(socket, frame, deliver) {
    const pass = () => {
      this.onReceive?.(frame)
      deliver()
      this.changed()
    }
    if (!this.#held) return pass()
    this.#held.push({ socket, frame, pass })
    this.changed()
  }

  changed() {
    this.emit('change')
  }
}

/** @param {Network} network */
function socketOf(network) {
  return class extends WS {
    /** @param {string | URL} address @param {string | string[]} [protocols] */
    constructor(address, protocols) {
      super(network.route(address), protocols?.length ? protocols : network.protocols)
      network.adopt(this)
    }

    /** @param {string | symbol} event @param {any[]} args */
    emit(event, ...args) {
      if (event !== 'message') return super.emit(event, ...args)
      const frame = Uint8Array.from(Buffer.isBuffer(args[0]) ? args[0] : Buffer.from(args[0]))
      network.receive(this, frame, () => super.emit(event, ...args))
      return true
    }

    /** @param {any} data @param {any[]} rest */
    send(data, ...rest) {
      if (this.readyState === WS.OPEN) network.onSend?.(data)
      super.send(data, ...rest)
      network.changed()
    }
  }
}
