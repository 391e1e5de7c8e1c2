/**
 * A conversation's messages as people see them, kept up to date change by change: a token touches one message, an
 * acceptance one branch. Nothing here rebuilds all of it unless the server's facts themselves were changed.
 */
import type * as Y from "yjs";
import type { Hlc } from "./hlc.ts";
import { deviceOf, type MessageId } from "./ids.ts";
import { read, text } from "./json.ts";
import { type Message, parseState, readContainer, readFeedback } from "./message.ts";
import { type Node, Order } from "./order.ts";
import { order as byText, isTrue, Registers, winnerText } from "./register.ts";

/** Alternatives of a message that are named: those around it. Naming all of them to each would be quadratic. */
const ALTERNATIVES = 16;
const NONE: readonly Message[] = Object.freeze([]);

export class Thread {
  readonly selected: Registers;
  readonly feedback: Registers;
  readonly hidden: Registers;
  readonly #doc: Y.Doc;
  readonly #messages: Y.Map<unknown>;
  readonly #accepted: Y.Map<unknown>;
  readonly #state: Y.Map<unknown>;
  readonly #facts: Y.Map<unknown>;
  readonly #unobserve: (() => void)[] = [];
  readonly #listeners = new Set<() => void>();
  readonly #cache = new Map<string, Message | undefined>();
  #order: Order;
  #pending = new Set<string>();
  /** Messages that all devices have: those up to this number of acceptance. */
  #everywhere = 0;
  #branch: readonly Node[] | undefined;
  #shown: readonly Message[] | undefined;
  #positions = new Map<string, number>();
  #touched = new Set<string>();
  #isRestructured = true;
  #isChanged = false;
  #isPaused: boolean;
  /** While it is paused: what was shown last before, or said since. */
  #end: MessageId | undefined;
  /** While it is paused and somebody waits for it: what came, to be read bit by bit as well. */
  #unread: string[] | undefined;

  /** One that begins paused has shown nothing yet. */
  constructor(doc: Y.Doc, seen?: (hlc: Hlc) => void, isPaused = false) {
    this.#doc = doc;
    this.#isPaused = isPaused;
    this.#messages = doc.getMap("messages");
    this.#accepted = doc.getMap("accepted");
    this.#state = doc.getMap("state");
    this.#facts = doc.getMap("facts");
    this.selected = new Registers(doc.getMap("selected"), "time", seen);
    this.feedback = new Registers(doc.getMap("feedback"), "time", seen);
    this.hidden = new Registers(doc.getMap("hidden"), "time", seen);
    this.#order = new Order(this.#accepted.entries());
    this.#pending = new Set([...this.#messages.keys()].filter((id) => !this.#order.has(id)));
    this.#observe();
  }

  /** The branch that is shown, hidden messages left out, then what is pending by time and id. */
  get messages(): readonly Message[] {
    if (this.#isPaused) {
      this.#unread ??= [...this.#touched];
      return this.#shown ?? NONE;
    }
    if (this.#shown !== undefined && !this.#isRestructured && this.#touched.size === 0) return this.#shown;
    this.#shown = this.#isRestructured ? this.#rebuilt() : this.#patched();
    this.#isRestructured = false;
    this.#touched.clear();
    return this.#shown;
  }

  /**
   * The last message that is shown, without a look at all the others. While it is paused the one that was shown last
   * before or said since, whatever has come: the end of a half may stand in a branch that nobody chose.
   */
  get tip(): Message | undefined {
    if (this.#isPaused) return this.#end === undefined ? undefined : this.message(this.#end);
    const pending = this.#list([]).at(-1);
    if (pending !== undefined) return pending;
    const node = this.#shownBranch.findLast(({ id }) => this.#message(id)?.hidden === false);
    return node === undefined ? undefined : this.#message(node.id);
  }

  /** Shows what was shown before, for as long as the document comes bit by bit. */
  setPaused(isPaused: boolean): void {
    if (isPaused === this.#isPaused) return;
    this.#end = isPaused ? this.tip?.id : undefined;
    this.#isPaused = isPaused;
    this.#unread = undefined;
    this.#notify();
  }

  /** Notes what was said here: what is said next follows it, paused or not. */
  said(id: MessageId): void {
    if (this.#isPaused) this.#end = id;
  }

  /** All messages by number of acceptance, hidden ones too, then what is pending. */
  get all(): readonly Message[] {
    return this.#list(this.#order.nodes.map((node) => node.id));
  }

  /** One message; one that repeats another gives that one. */
  message(id: string): Message | undefined {
    const placed = this.#order.find(id);
    return this.#message(placed?.id ?? id);
  }

  /** The largest number of acceptance. */
  get last(): number {
    return this.#order.last;
  }

  /** How many messages came after the last one that was read, or written by the person. */
  unread(read: number): number {
    const own = this.#order.nodes.findLast(
      ({ id, seq }) => seq <= read || this.#message(id)?.role === "user",
    );
    return Math.max(0, this.last - Math.max(read, own?.seq ?? 0));
  }

  /** Notes that all devices have the messages up to this number of acceptance. */
  setEverywhere(seq: number): void {
    if (seq === this.#everywhere) return;
    const [low, high] = [Math.min(seq, this.#everywhere), Math.max(seq, this.#everywhere)];
    this.#everywhere = seq;
    for (const node of this.#order.nodes) if (node.seq > low && node.seq <= high) this.#touch(node.id);
    this.#notify();
  }

  /** Calls back once for every transaction that changed what is shown. */
  watch(listener: () => void): void {
    this.#listeners.add(listener);
  }

  destroy(): void {
    for (const undo of this.#unobserve) undo();
    for (const registers of [this.selected, this.feedback, this.hidden]) registers.destroy();
    this.#listeners.clear();
  }

  get #shownBranch(): readonly Node[] {
    this.#branch ??= this.#order.branch((parent) => winnerText(this.selected.field(parent)));
    return this.#branch;
  }

  #rebuilt(): readonly Message[] {
    const list = this.#list(this.#shownBranch.map((node) => node.id)).filter(
      (message) => !message.hidden || message.seq === null,
    );
    this.#positions = new Map(list.map((message, at) => [message.id, at]));
    const before = this.#shown;
    const isSame = before?.length === list.length && list.every((message, at) => message === before[at]);
    return isSame && before !== undefined ? before : list.length === 0 ? NONE : list;
  }

  #patched(): readonly Message[] {
    const before = this.#shown ?? NONE;
    let list: Message[] | undefined;
    for (const id of this.#touched) {
      const at = this.#positions.get(id);
      const message = at === undefined ? undefined : this.#message(id);
      if (at === undefined || message === undefined || message === before[at]) continue;
      list ??= [...before];
      list[at] = message;
    }
    return list ?? before;
  }

  #list(placed: readonly MessageId[]): Message[] {
    const messages = placed.flatMap((id) => this.#message(id) ?? []);
    const pending = [...this.#pending].flatMap((id) => this.#message(id) ?? []);
    pending.sort((a, b) => byText(a.at, b.at) || byText(a.id, b.id));
    return messages.concat(pending);
  }

  #message(id: string): Message | undefined {
    if (!this.#cache.has(id)) this.#cache.set(id, this.#read(id));
    return this.#cache.get(id);
  }

  #read(id: string): Message | undefined {
    const content = readContainer(this.#messages.get(id));
    if (content === undefined) return undefined;
    const { head, parts, erased } = content;
    const node = this.#order.placed(id);
    const [state, details] = parseState(this.#state.get(id)) ?? ["done" as const, undefined];
    const facts = this.#facts.get(id);
    const own = id as MessageId;
    return {
      id: own,
      parent: node === undefined ? head.parent : (node.after?.id ?? null),
      role: head.role,
      seq: node?.seq ?? null,
      state: node === undefined ? "pending" : state,
      delivery: node === undefined ? "pending" : node.seq <= this.#everywhere ? "everywhere" : "accepted",
      alternatives:
        node === undefined
          ? { index: 1, count: 1, ids: [own] }
          : alternatives(this.#order.children(node.after), node),
      parts,
      by: head.by,
      device: deviceOf(head.by),
      at: head.at,
      req: head.req,
      model: head.model,
      metadata: head.metadata,
      details,
      facts: facts === undefined ? undefined : read(facts),
      feedback: readFeedback(this.feedback.field(id)?.[0]?.value),
      hidden: isTrue(this.hidden.field(id)),
      erased,
    };
  }

  #observe(): void {
    const deep = (events: Y.YEvent<Y.AbstractType<unknown>>[]) => {
      for (const event of events) {
        const id = text(event.path[0]);
        for (const key of id === undefined ? event.changes.keys.keys() : [id]) this.#contentChanged(key);
      }
    };
    this.#messages.observeDeep(deep);
    this.#unobserve.push(() => this.#messages.unobserveDeep(deep));
    this.#on(this.#accepted, (keys) => this.#acceptedChanged(keys));
    for (const map of [this.#state, this.#facts]) {
      this.#on(map, (keys) => {
        for (const id of keys) this.#touch(id);
      });
    }
    this.selected.watch(() => {
      this.#branch = undefined;
      this.#restructure();
    });
    this.feedback.watch((fields) => {
      for (const id of fields) this.#touch(id);
    });
    this.hidden.watch((fields) => {
      for (const id of fields) this.#touch(id);
      this.#restructure();
    });
    const after = () => this.#notify();
    this.#doc.on("afterTransaction", after);
    this.#unobserve.push(() => this.#doc.off("afterTransaction", after));
  }

  #on(map: Y.Map<unknown>, changed: (keys: ReadonlySet<string>) => void): void {
    const observer = (event: Y.YMapEvent<unknown>) => changed(event.keysChanged);
    map.observe(observer);
    this.#unobserve.push(() => map.unobserve(observer));
  }

  #contentChanged(id: string): void {
    const isAccepted = this.#order.has(id);
    const before = this.#cache.get(id);
    this.#touch(id);
    if (!isAccepted) {
      if (this.#messages.has(id)) this.#pending.add(id);
      else this.#pending.delete(id);
    }
    if (this.#isPaused) {
      this.#restructure();
      return;
    }
    // A container that came back, went, or became a message changes what is listed, not only what it says.
    const now = this.#message(id);
    if ((before === undefined) !== (now === undefined) || (!isAccepted && before?.at !== now?.at)) {
      this.#restructure();
    }
  }

  #acceptedChanged(keys: ReadonlySet<string>): void {
    const entries = [...keys].map((id) => [id, this.#accepted.get(id)] as const);
    if (this.#order.add(entries)) {
      for (const id of keys) {
        this.#touch(id);
        this.#pending.delete(id);
        const node = this.#order.placed(id);
        const siblings = node === undefined ? [] : this.#order.children(node.after);
        if (siblings.length > 1) for (const sibling of siblings) this.#touch(sibling.id);
      }
    } else {
      this.#order = new Order(this.#accepted.entries());
      this.#pending = new Set([...this.#messages.keys()].filter((id) => !this.#order.has(id)));
      this.#cache.clear();
    }
    this.#branch = undefined;
    this.#restructure();
  }

  #touch(id: string): void {
    this.#cache.delete(id);
    this.#touched.add(id);
    this.#unread?.push(id);
    this.#isChanged = true;
  }

  #restructure(): void {
    this.#isRestructured = true;
    this.#isChanged = true;
  }

  #notify(): void {
    if (this.#isPaused) for (const id of this.#unread?.splice(0) ?? []) this.#message(id);
    if (!this.#isChanged || this.#isPaused) return;
    this.#isChanged = false;
    for (const listener of this.#listeners) listener();
  }
}

function alternatives(siblings: readonly Node[], node: Node): Message["alternatives"] {
  const at = placeOf(siblings, node);
  const first = Math.max(0, Math.min(at - ALTERNATIVES / 2, siblings.length - ALTERNATIVES));
  const named = siblings.slice(first, first + ALTERNATIVES);
  return { index: at + 1, count: siblings.length, ids: named.map((sibling) => sibling.id) };
}

/** Siblings stand by number, as the nodes do. */
function placeOf(siblings: readonly Node[], node: Node): number {
  let [low, high] = [0, siblings.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((siblings[middle]?.seq ?? 0) < node.seq) low = middle + 1;
    else high = middle;
  }
  return low;
}
