/**
 * `@syncline/client`: joins a Yjs document to a Syncline server from one device.
 *
 * What it promises: an edit is in this device's own store before it is offered to the server, and it counts
 * as unsaved, across reloads too, until the server has said that it is on disk. Start with `openDocument`.
 */
export { type OpenOptions, openDocument, SyncedDocument } from "./document.ts";
export type { Device, DeviceId, DeviceKind, PeerDevice, Status } from "./status.ts";
