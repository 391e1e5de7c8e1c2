/** Where this page is: whose state it shows, at which server, and which devices it plays. */

export type DeviceName = "phone" | "laptop" | "tab";

export interface DeviceRole {
  readonly name: DeviceName;
  readonly title: string;
  readonly kind: "phone" | "laptop" | "desktop";
}

export const ROLES: readonly DeviceRole[] = [
  { name: "phone", title: "Phone", kind: "phone" },
  { name: "laptop", title: "Laptop", kind: "laptop" },
  { name: "tab", title: "Tab", kind: "desktop" },
];

const LAST_PERSON = "syncline.person";
const PERSON = /^[A-Za-z0-9._@-]{1,128}$/;

/** The person named in the address (`#ada`), else the one shown last here, else a new one; the address then names them. */
export function currentPerson(): string {
  const named = decodeURIComponent(location.hash.slice(1).split("&")[0] ?? "");
  const person = PERSON.test(named) ? named : (localStorage.getItem(LAST_PERSON) ?? freshPerson());
  localStorage.setItem(LAST_PERSON, person);
  const rest = location.hash.split("&").slice(1);
  history.replaceState(null, "", `#${[person, ...rest].join("&")}`);
  return person;
}

/** A token for servers that ask for one: `#ada&token=...`. The fragment is sent to nobody. */
export function currentToken(): string | undefined {
  return new URLSearchParams(location.hash.split("&").slice(1).join("&")).get("token") ?? undefined;
}

export function freshPerson(): string {
  return `demo-${random(6)}`;
}

export function showPerson(person: string): void {
  location.hash = person;
}

/** The id of a device that this browser plays, drawn once. */
export function deviceId(name: DeviceName): string {
  const key = `syncline.device.${name}`;
  const id = localStorage.getItem(key) ?? `${name}-${random(8)}`;
  localStorage.setItem(key, id);
  return id;
}

function random(length: number): string {
  const letters = "abcdefghijkmnpqrstuvwxyz23456789";
  return [...crypto.getRandomValues(new Uint8Array(length))].map((byte) => letters[byte % 32]).join("");
}
