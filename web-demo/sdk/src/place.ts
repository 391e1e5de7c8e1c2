/** Where the server is, and which device this is. */
import { type DeviceId, isId, parseDeviceId, randomName } from "./model/ids.ts";
import { type Device, type DeviceKind, toDeviceKind } from "./sync/status.ts";

export interface DeviceOptions {
  readonly id?: string;
  readonly name?: string;
  readonly kind?: DeviceKind;
}

/** The addresses of the HTTP API and of the socket, from either. */
export function readAddress(url: string): { readonly origin: string; readonly socket: string } {
  const address = new URL(url);
  const isSecure = address.protocol === "https:" || address.protocol === "wss:";
  const path = address.pathname.replace(/\/+$/, "").replace(/\/sync$/, "");
  const base = `${address.host}${path}`;
  return {
    origin: `${isSecure ? "https" : "http"}://${base}`,
    socket: `${isSecure ? "wss" : "ws"}://${base}/sync`,
  };
}

/** This device: by the id that is given, by the token's, or by the one that this browser keeps. */
export function readDevice(
  given: DeviceOptions | undefined,
  claimed: string | undefined,
  scope: string,
): Device {
  const id = parseDeviceId(given?.id ?? claimed ?? keptDeviceId(scope));
  if (id === undefined) throw new Error("a device's id is 1 to 64 of A-Z a-z 0-9 _ -");
  const kind = toDeviceKind(given?.kind);
  return { id, kind, name: given?.name ?? (kind === "other" ? "This device" : `My ${kind}`) };
}

/** Drawn once for each browser. */
function keptDeviceId(scope: string): DeviceId {
  const key = `${scope}/device`;
  const storage = typeof localStorage === "undefined" ? undefined : localStorage;
  const known = storage?.getItem(key);
  if (known !== null && known !== undefined && isId(known)) return known as DeviceId;
  const drawn = `d-${randomName(10)}` as DeviceId;
  storage?.setItem(key, drawn);
  return drawn;
}
