/**
 * The order of a conversation as the server accepted it: a tree in which every message follows one that was accepted
 * before it, so that no walk can loop.
 */
import type { MessageId } from "./ids.ts";
import { isId } from "./ids.ts";
import { isRecord, text, whole } from "./json.ts";
import { order } from "./register.ts";

/** What stands for "no parent" in the key of a branch choice. */
export const TOP = "root";

/** `[seq, after]`, or `[0, null, {same}]` for a message that repeats another. */
export type Acceptance =
  | { readonly kind: "placed"; readonly seq: number; readonly after: MessageId | null }
  | { readonly kind: "same"; readonly as: MessageId };

export function parseAcceptance(stored: unknown): Acceptance | undefined {
  if (!Array.isArray(stored) || stored.length < 2 || stored.length > 3) return undefined;
  const [number, after, rest] = stored as unknown[];
  const seq = whole(number);
  if (seq === undefined) return undefined;
  if (seq === 0) {
    const same = isRecord(rest) ? text(rest["same"]) : undefined;
    return after === null && same !== undefined ? { kind: "same", as: same as MessageId } : undefined;
  }
  if (stored.length === 3) return undefined;
  if (after === null || after === undefined) return { kind: "placed", seq, after: null };
  return typeof after === "string" && isId(after)
    ? { kind: "placed", seq, after: after as MessageId }
    : undefined;
}

export interface Node {
  readonly id: MessageId;
  readonly seq: number;
  readonly after: Node | null;
  /** By seq. */
  readonly children: Node[];
}

/** Which message was chosen behind a parent, or first (`root`). */
export type Choice = (parent: string) => string | undefined;

/** All accepted messages. */
export class Order {
  readonly #nodes = new Map<string, Node>();
  readonly #list: Node[] = [];
  readonly #same = new Map<string, MessageId>();
  readonly #tops: Node[] = [];
  #last = 0;

  constructor(accepted: Iterable<readonly [string, unknown]>) {
    this.add(accepted);
  }

  /** The largest number of acceptance. */
  get last(): number {
    return this.#last;
  }

  /** All messages with a place, by number. */
  get nodes(): readonly Node[] {
    return this.#list;
  }

  /** Adds acceptances. Answers false, having done nothing, where one is not later than all that are here. */
  add(accepted: Iterable<readonly [string, unknown]>): boolean {
    const placed: (readonly [number, string, MessageId | null])[] = [];
    const repeats: (readonly [string, MessageId])[] = [];
    for (const [id, stored] of accepted) {
      const acceptance = parseAcceptance(stored);
      if (acceptance?.kind === "same") repeats.push([id, acceptance.as]);
      if (acceptance?.kind === "placed") placed.push([acceptance.seq, id, acceptance.after]);
    }
    const isKnown = (id: string) => this.#nodes.has(id) || this.#same.has(id);
    if ([...placed.map(([, id]) => id), ...repeats.map(([id]) => id)].some(isKnown)) return false;
    if (placed.some(([seq]) => seq <= this.#last)) return false;
    for (const [id, as] of repeats) this.#same.set(id, as);
    // What follows something later than itself comes from a device that was not healed yet: it stands at the top.
    placed.sort((a, b) => a[0] - b[0] || order(a[1], b[1]));
    for (const [seq, id, after] of placed) {
      this.#push(id as MessageId, seq, after === null ? null : (this.find(after) ?? null));
    }
    return true;
  }

  /** The place of a message, or of the one that it repeats. */
  find(id: string): Node | undefined {
    const same = this.#same.get(id);
    return this.#nodes.get(id) ?? (same === undefined ? undefined : this.#nodes.get(same));
  }

  /** Whether the server has decided on a message. */
  has(id: string): boolean {
    return this.#nodes.has(id) || this.#same.has(id);
  }

  /** The message itself, if it has a place of its own. */
  placed(id: string): Node | undefined {
    return this.#nodes.get(id);
  }

  /** What follows a message, or the first messages. */
  children(of: Node | null): readonly Node[] {
    return of === null ? this.#tops : of.children;
  }

  /** The branch that is shown: at each step the chosen child, else the newest. */
  branch(choice: Choice): Node[] {
    const branch: Node[] = [];
    let at: Node | null = null;
    for (;;) {
      const next = this.#shown(at, choice);
      if (next === undefined) return branch;
      branch.push(next);
      at = next;
    }
  }

  #shown(of: Node | null, choice: Choice): Node | undefined {
    const named = choice(of?.id ?? TOP);
    const chosen = named === undefined ? undefined : this.find(named);
    return chosen !== undefined && chosen.after === of ? chosen : this.children(of).at(-1);
  }

  #push(id: MessageId, seq: number, after: Node | null): void {
    const node: Node = { id, seq, after, children: [] };
    this.#nodes.set(id, node);
    this.#list.push(node);
    (after === null ? this.#tops : after.children).push(node);
    this.#last = Math.max(this.#last, seq);
  }
}
