// @ts-check
/** Frames as bytes: taken apart for the tests, and sent raw where no client would send them. */

import { EventEmitter } from 'node:events'
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import WS from 'ws'
import { until } from './wait.mjs'

/**
 * @typedef {object} Frame
 * @property {string | null} address Hocuspocus: document, or document NUL session
 * @property {string} kind
 * @property {Uint8Array} [bytes] payload of sync and awareness
 * @property {string} [text] payload of auth, stateless and status
 * @property {number} [value] payload of sync status and version
 */

const SYNC = ['step1', 'step2', 'update']

/**
 * @param {Uint8Array} bytes
 * @param {'plain' | 'hocuspocus'} dialect
 * @returns {Frame}
 */
export function parse(bytes, dialect) {
  const decoder = decoding.createDecoder(bytes)
  if (dialect === 'hocuspocus' && bytes.length === 1) return { address: null, kind: bytes[0] === 9 ? 'ping' : 'pong' }
  const address = dialect === 'hocuspocus' ? decoding.readVarString(decoder) : null
  const type = decoding.readVarUint(decoder)
  switch (type) {
    case 0: {
      const kind = SYNC[decoding.readVarUint(decoder)] ?? 'unknown'
      return { address, kind, bytes: decoding.readVarUint8Array(decoder) }
    }
    case 1:
      return { address, kind: 'awareness', bytes: decoding.readVarUint8Array(decoder) }
    case 2: {
      const value = decoding.readVarUint(decoder)
      const more = decoder.pos < bytes.length
      return { address, kind: 'auth', value, text: more ? decoding.readVarString(decoder) : undefined }
    }
    case 5:
    case 110:
      return { address, kind: type === 5 ? 'stateless' : 'status', text: decoding.readVarString(decoder) }
    case 8:
      return { address, kind: 'syncStatus', value: decoding.readVarUint(decoder) }
    case 102: {
      const inner = decoding.createDecoder(decoding.readVarUint8Array(decoder))
      return { address, kind: 'version', value: decoding.readVarUint(inner) }
    }
    default:
      return { address, kind: `type ${type}` }
  }
}

/**
 * @param {string | null} address
 * @param {(encoder: encoding.Encoder) => void} write
 */
function frame(address, write) {
  return encoding.encode((encoder) => {
    if (address !== null) encoding.writeVarString(encoder, address)
    write(encoder)
  })
}

/** @param {'step1' | 'step2' | 'update'} kind @param {Uint8Array} bytes @param {string | null} [address] */
export const syncFrame = (kind, bytes, address = null) =>
  frame(address, (encoder) => {
    encoding.writeVarUint(encoder, 0)
    encoding.writeVarUint(encoder, SYNC.indexOf(kind))
    encoding.writeVarUint8Array(encoder, bytes)
  })

/** @param {unknown} json @param {string | null} [address] */
export const jsonFrame = (json, address = null) =>
  frame(address, (encoder) => {
    encoding.writeVarUint(encoder, address === null ? 110 : 5)
    encoding.writeVarString(encoder, JSON.stringify(json))
  })

/** @param {string} token @param {string} address */
export const authFrame = (token, address) =>
  frame(address, (encoder) => {
    encoding.writeVarUint(encoder, 2)
    encoding.writeVarUint(encoder, 0)
    encoding.writeVarString(encoder, token)
  })

/** A bare socket that keeps what it receives. */
export class Wire extends EventEmitter {
  /** @type {Frame[]} */
  frames = []
  /** @type {{ code: number, reason: string } | null} */
  closed = null

  /**
   * @param {{ after: (fn: () => unknown) => void }} test
   * @param {string} url
   * @param {{ protocols?: string[], dialect?: 'plain' | 'hocuspocus' }} [options]
   */
  static async open(test, url, { protocols = [], dialect = 'plain' } = {}) {
    const wire = new Wire()
    wire.setMaxListeners(0)
    wire.socket = new WS(url, protocols)
    test.after(() => wire.socket.terminate())
    let opened = false
    wire.socket.on('open', () => {
      opened = true
      wire.emit('change')
    })
    wire.socket.on('error', () => wire.emit('change'))
    wire.socket.on('message', (data) => {
      wire.frames.push(parse(Uint8Array.from(/** @type {Buffer} */ (data)), dialect))
      wire.emit('change')
    })
    wire.socket.on('close', (code, reason) => {
      wire.closed = { code, reason: reason.toString() }
      wire.emit('change')
    })
    await until(wire, () => opened || wire.closed, `a socket to ${url}`)
    return wire
  }

  /** @type {WS} */
  // @ts-ignore set by open
  socket

  /** @param {Uint8Array} bytes */
  send(bytes) {
    this.socket.send(bytes)
  }

  /**
   * Takes the oldest frame of `kind` that was not taken yet.
   *
   * @param {string} kind
   * @param {(frame: Frame) => boolean} [match]
   * @returns {Promise<Frame>}
   */
  async next(kind, match = () => true) {
    const find = () => this.frames.findIndex((entry) => entry.kind === kind && match(entry))
    await until(this, () => find() >= 0, () => `a frame ${kind}; there were ${this.frames.map((entry) => entry.kind)}`)
    return /** @type {Frame} */ (this.frames.splice(find(), 1)[0])
  }
}
