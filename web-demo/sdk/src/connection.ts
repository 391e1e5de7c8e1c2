/**
 * The Hocuspocus provider and its socket, narrowed where their own book-keeping could claim too much.
 */
import { HocuspocusProvider, HocuspocusProviderWebsocket } from "@hocuspocus/provider";
import { createDecoder, readVarString, readVarUint } from "lib0/decoding";

const SYNC_STATUS = 8;

/** One socket of one device. */
export class DeviceSocket extends HocuspocusProviderWebsocket {
  /**
   * Sends on an open socket, and drops what comes while there is none: the sync that begins the next connection
   * carries all of it. Queued updates would be acknowledged a second time there, and each surplus
   * acknowledgement would make a later edit look saved before it is.
   */
  override send(message: Uint8Array): void {
    if (this.webSocket?.readyState === WebSocket.OPEN) super.send(message);
  }

  /** Cuts the connection at once, without waiting for the server's closing handshake. */
  override disconnect(): void {
    super.disconnect();
    if (this.webSocket !== null) {
      this.emit("close", { event: { code: 1000, reason: "switched off" } });
    }
  }
}

export interface Acknowledgements {
  /** The server holds on disk all but `outstanding` updates of this connection. */
  saved(outstanding: number): void;
  /** The server will not take an edit that it was sent. */
  refused(): void;
}

/** The provider of one document; tells the server's acknowledgements apart from its own resets of the count. */
export class DocumentProvider extends HocuspocusProvider {
  acknowledgements: Acknowledgements | undefined;

  override onMessage(event: MessageEvent<ArrayBuffer>): void {
    super.onMessage(event);
    const decoder = createDecoder(new Uint8Array(event.data));
    readVarString(decoder);
    if (readVarUint(decoder) !== SYNC_STATUS) return;
    if (readVarUint(decoder) === 1) this.acknowledgements?.saved(this.unsyncedChanges);
    else this.acknowledgements?.refused();
  }
}
