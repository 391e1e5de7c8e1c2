// @ts-check
/** Devices in Node: IndexedDB is faked, sockets are `ws`. */
import "fake-indexeddb/auto";
import WebSocket from "ws";
import { Syncline } from "../../dist/index.js";

const PATIENCE_MS = 15_000;

/**
 * A client of a device; devices of one name share a store, as a reload does.
 * @param {string} url
 * @param {string} device
 * @param {Partial<import("../../dist/index.js").SynclineOptions>} options
 */
export function device(url, device, options = {}) {
  return new Syncline({
    url,
    user: "ada",
    device: { id: device, name: device },
    WebSocket: /** @type {typeof globalThis.WebSocket} */ (/** @type {unknown} */ (WebSocket)),
    ...options,
  });
}

/**
 * Resolves with the value of something live once it is as wanted.
 * @template T
 * @param {import("../../dist/index.js").Live<T>} live
 * @param {(value: T) => boolean} wanted
 * @param {string} what
 * @returns {Promise<T>}
 */
export function until(live, wanted, what = wanted.toString()) {
  return new Promise((resolve, reject) => {
    const stop = live.subscribe(() => look());
    const timer = setTimeout(() => {
      stop();
      reject(new Error(`waited for ${what}; it is ${JSON.stringify(live.value).slice(0, 2_000)}`));
    }, PATIENCE_MS);
    const look = () => {
      const { value } = live;
      if (!wanted(value)) return;
      clearTimeout(timer);
      queueMicrotask(() => stop());
      resolve(value);
    };
    look();
  });
}

/** @param {Syncline} client */
export const saved = (client) => until(client.status, ({ kind }) => kind === "saved", "saved");
