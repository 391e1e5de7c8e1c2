/** What goes over a device's wire, for the strip at the foot of the page. */
import type { Frame } from "@syncline/client";

export interface Event {
  readonly at: number;
  readonly direction: "in" | "out";
  readonly what: What;
  readonly bytes: number;
}

/** What a frame does, in the words of the strip. */
export type What = "edit" | "merge" | "saved" | "sync" | "presence" | "other";

/** The newest events that are kept. */
const EVENTS = 400;
/** The smallest SyncStep2 that carries anything: an empty update is two bytes and their frame. */
const EMPTY = 6;

export class Activity {
  events: readonly Event[] = [];
  merges = 0;
  edits = 0;
  readonly #listeners = new Set<() => void>();

  heard(frame: Frame): void {
    const what = meaning(frame);
    if (what === "merge") this.merges += 1;
    if (what === "edit") this.edits += 1;
    const event: Event = { at: performance.now(), direction: frame.direction, what, bytes: frame.bytes };
    this.events = [...this.events.slice(-EVENTS + 1), event];
    for (const listener of this.#listeners) listener();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
}

function meaning({ direction, document, type, bytes }: Frame): What {
  const carries = type === "update" || (type === "step2" && bytes > document.length + EMPTY);
  if (carries) return direction === "out" ? "edit" : "merge";
  if (type === "status") return "saved";
  if (type === "step1" || type === "step2") return "sync";
  return type === "awareness" ? "presence" : "other";
}
