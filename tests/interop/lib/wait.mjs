// @ts-check
/**
 * Waiting for events, never for time: `until` looks again each time one of its sources says that
 * something changed, and fails with words when the time is up.
 */

/** @typedef {import('node:events').EventEmitter} EventEmitter */

/**
 * Resolves as soon as `condition` holds. `act` runs in the very event that made it hold, before
 * anything else of this process gets a turn.
 *
 * @param {EventEmitter | EventEmitter[]} sources emitters of `change`
 * @param {() => unknown} condition
 * @param {string | (() => string)} what shown when it does not happen
 * @param {{ ms?: number, act?: () => unknown }} [options]
 * @returns {Promise<void>}
 */
export function until(sources, condition, what, { ms = 15_000, act } = {}) {
  const list = Array.isArray(sources) ? sources : [sources]
  return new Promise((resolve, reject) => {
    let acted = false
    const settle = (/** @type {unknown} */ error) => {
      clearTimeout(timer)
      for (const source of list) source.off('change', look)
      if (error) reject(error)
      else resolve()
    }
    const look = () => {
      try {
        if (acted || !condition()) return
        // What it does may well be a change itself.
        acted = true
        act?.()
        settle(null)
      } catch (error) {
        settle(error)
      }
    }
    const timer = setTimeout(() => {
      const text = typeof what === 'function' ? what() : what
      settle(new Error(`not within ${ms} ms: ${text}`))
    }, ms)
    for (const source of list) source.on('change', look)
    look()
  })
}

/**
 * Lets real time pass. Only for behaviour that is about time itself (idle sockets, reconnect
 * storms, something that must not happen); everything else awaits an event.
 *
 * @param {number} ms
 * @returns {Promise<void>}
 */
export function realTime(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
