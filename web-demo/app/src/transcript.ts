/** The turns of the demo's conversation: a map keyed by id, each turn one plain value that never changes. */
import type { Device, DeviceKind } from "@syncline/client";
import type * as Y from "yjs";
import { element } from "./dom.ts";

interface Turn {
  readonly id: string;
  readonly by: string;
  readonly name: string;
  readonly kind: DeviceKind;
  readonly text: string;
  readonly at: number;
}

const LONGEST_TURN = 4_000;

export function bindTranscript(list: HTMLOListElement, turns: Y.Map<unknown>, own: Device): void {
  // Whoever looks at the last turn keeps looking at it, when turns come and when the list gets shorter.
  let pinned = true;
  list.addEventListener("scroll", () => {
    pinned = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  });
  const keepInView = () => {
    if (pinned) list.scrollTop = list.scrollHeight;
  };
  new ResizeObserver(keepInView).observe(list);
  const render = () => {
    const rows = ordered(turns).map((turn, at, all) =>
      row(turn, turn.by === own.id, all[at - 1]?.by === turn.by),
    );
    list.replaceChildren(...rows);
    list.classList.toggle("empty", rows.length === 0);
    keepInView();
  };
  turns.observe(render);
  render();
}

export function addTurn(turns: Y.Map<unknown>, own: Device, words: string): void {
  const text = words.trim().slice(0, LONGEST_TURN);
  if (text === "") return;
  const last = ordered(turns).at(-1)?.at ?? 0;
  // Never before a turn that was already in view, however wrong this device's clock is.
  const at = Math.max(Date.now(), last + 1);
  const id = uuidv7();
  turns.set(id, { by: own.id, name: own.name, kind: own.kind, text, at });
}

/** By time, then id: an order that every device computes alike, until the server gives one. */
function ordered(turns: Y.Map<unknown>): Turn[] {
  const all: Turn[] = [];
  for (const [id, value] of turns) {
    const turn = readTurn(id, value);
    if (turn !== undefined) all.push(turn);
  }
  return all.sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1));
}

function readTurn(id: string, value: unknown): Turn | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { by, name, kind, text, at } = value as Partial<Record<keyof Turn, unknown>>;
  if (typeof by !== "string" || typeof text !== "string" || typeof at !== "number") return undefined;
  return {
    id,
    by,
    name: typeof name === "string" ? name : by,
    kind: kind === "phone" || kind === "laptop" ? kind : "other",
    text,
    at,
  };
}

function row(turn: Turn, own: boolean, continues: boolean): HTMLLIElement {
  const time = new Date(turn.at);
  const meta = element(
    "p",
    { class: "meta" },
    own ? "You" : turn.name,
    " · ",
    element(
      "time",
      { datetime: Number.isNaN(time.valueOf()) ? undefined : time.toISOString() },
      time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }),
    ),
  );
  return element(
    "li",
    { class: `turn ${own ? "own" : "theirs"}${continues ? " continues" : ""}`, "data-id": turn.id },
    meta,
    element("p", { class: "words" }, turn.text),
  );
}

function uuidv7(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const now = Date.now();
  for (let at = 0; at < 6; at += 1) bytes[at] = Math.floor(now / 2 ** (8 * (5 - at))) % 256;
  bytes[6] = 0x70 | ((bytes[6] ?? 0) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
