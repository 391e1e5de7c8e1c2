/** Where this page is: which document, which server, and which devices it plays. */
import type { Device, DeviceId, DeviceKind } from "@syncline/client";

const LAST_DOCUMENT = "syncline.document";

/** The document named in the address, else the one opened last here, else a fresh one; the address then names it. */
export function currentDocument(): string {
  const name = namedInAddress() ?? localStorage.getItem(LAST_DOCUMENT) ?? freshDocument();
  localStorage.setItem(LAST_DOCUMENT, name);
  history.replaceState(null, "", `#${encodeURI(name)}`);
  return name;
}

export function freshDocument(): string {
  return `demo/notes-${random(6)}`;
}

export function openElsewhere(name: string): void {
  location.hash = encodeURI(name);
}

export function serverUrl(): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/sync`;
}

/** The device that a panel plays; its id is drawn once for each browser. */
export function device(kind: DeviceKind, name: string): Device {
  const key = `syncline.device.${kind}`;
  const id = localStorage.getItem(key) ?? `${kind}-${random(8)}`;
  localStorage.setItem(key, id);
  return { id: id as DeviceId, name, kind };
}

/** A device's offline switch, which outlives the page as a real device's flight mode does. */
export const offlineSwitch = {
  isOnline: (kind: DeviceKind): boolean => localStorage.getItem(`syncline.offline.${kind}`) === null,
  set(kind: DeviceKind, online: boolean): void {
    if (online) localStorage.removeItem(`syncline.offline.${kind}`);
    else localStorage.setItem(`syncline.offline.${kind}`, "1");
  },
};

function namedInAddress(): string | undefined {
  try {
    const name = decodeURI(location.hash.slice(1));
    return isDocumentName(name) ? name : undefined;
  } catch {
    return undefined;
  }
}

function isDocumentName(name: string): boolean {
  const plain = !/\p{Cc}/u.test(name) && new TextEncoder().encode(name).length <= 512;
  return plain && name.split("/").every((segment) => segment !== "" && segment !== "." && segment !== "..");
}

function random(length: number): string {
  const letters = "abcdefghijkmnpqrstuvwxyz23456789";
  return [...crypto.getRandomValues(new Uint8Array(length))].map((byte) => letters[byte % 32]).join("");
}
