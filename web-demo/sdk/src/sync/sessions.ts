/**
 * Writer sessions of a device: each open page is one. A page takes over the session of a page that ended in good order,
 * so that reloads do not leave a trail of keys; one that ended without a word may have written what its store lacks,
 * and is never written under again: what it left is folded.
 */
import { randomName } from "../model/ids.ts";
import { isRecord, text } from "../model/json.ts";
import type { Home } from "./home.ts";

/** Pages of one device that are open at once, at most. */
const SLOTS = 256;
/** Ended sessions that are remembered. */
const DEAD = 256;

export interface Session {
  readonly name: string;
  readonly dead: readonly string[];
  /** Ends it in good order. */
  close(): Promise<void>;
}

/** Takes a session that no other page has. */
export async function takeSession(scope: string, home: Home): Promise<Session> {
  const { slot, release } = await lockSlot(scope);
  const kept = await home.read(`session/${slot}`);
  const [name, isClosed] = isRecord(kept)
    ? [text(kept["name"]), kept["isClosed"] === true]
    : [undefined, false];
  const leftNote = noteOf(scope, slot);
  const isClean = name !== undefined && (isClosed || leftNote.read() === name);
  leftNote.write(undefined);
  const own = isClean ? name : randomName(10);
  const fallen = name === undefined || isClean ? [] : [[`dead/${name}`, Date.now()] as const];
  // Before anything is written under this name: whoever comes next sees that it was in use.
  await home.write([[`session/${slot}`, { name: own, isClosed: false }], ...fallen]);
  const dead = [...(await home.list("dead"))].sort(([, a], [, b]) => Number(b) - Number(a));
  const leave = () => leftNote.write(own);
  const back = () => leftNote.write(undefined);
  if (typeof window !== "undefined") {
    window.addEventListener("pagehide", leave);
    window.addEventListener("pageshow", back);
  }
  return {
    name: own,
    dead: dead.slice(0, DEAD).map(([name]) => name),
    close: async () => {
      if (typeof window !== "undefined") {
        window.removeEventListener("pagehide", leave);
        window.removeEventListener("pageshow", back);
      }
      await home.write([[`session/${slot}`, { name: own, isClosed: true }]]);
      release();
    },
  };
}

async function lockSlot(scope: string): Promise<{ readonly slot: number; readonly release: () => void }> {
  const locks = typeof navigator === "undefined" ? undefined : navigator.locks;
  if (locks === undefined) return { slot: 0, release: () => undefined };
  for (let slot = 0; slot < SLOTS; slot += 1) {
    const release = await new Promise<(() => void) | undefined>((resolve) => {
      void locks.request(`${scope}/session/${slot}`, { ifAvailable: true }, (lock) => {
        if (lock === null) return resolve(undefined);
        return new Promise<void>((free) => resolve(() => free()));
      });
    });
    if (release !== undefined) return { slot, release };
  }
  throw new Error("too many pages of this device are open");
}

/** A note that can be left while a page goes: IndexedDB would be too late. */
function noteOf(
  scope: string,
  slot: number,
): { read(): string | undefined; write(name: string | undefined): void } {
  const key = `${scope}/left/${slot}`;
  const storage = typeof localStorage === "undefined" ? undefined : localStorage;
  return {
    read: () => storage?.getItem(key) ?? undefined,
    write: (name) => {
      if (name === undefined) storage?.removeItem(key);
      else storage?.setItem(key, name);
    },
  };
}
