/** Binds a textarea to a Y.Text: edits go in as the smallest change, and the caret stays where the person left it. */
import * as Y from "yjs";

export function bindNote(area: HTMLTextAreaElement, text: Y.Text): void {
  const origin = { binding: area.id };
  const history = new Y.UndoManager(text, { trackedOrigins: new Set([origin]) });
  let composing = false;
  /** What the area and the document last agreed on; they differ only while a composition is open. */
  let agreed = "";

  const show = (from: number, to: number) => {
    const { scrollTop } = area;
    agreed = text.toString();
    area.value = agreed;
    area.scrollTop = scrollTop;
    if (document.activeElement === area) area.setSelectionRange(from, to);
  };

  const take = () => {
    const change = smallestChange(agreed, area.value, area.selectionEnd);
    const others = smallestChange(agreed, text.toString(), 0);
    const shift = change && others && others.at <= change.at ? others.insert.length - others.remove : 0;
    if (change !== undefined) {
      const at = Math.min(Math.max(change.at + shift, 0), text.length);
      const remove = Math.min(change.remove, text.length - at);
      text.doc?.transact(() => {
        if (remove > 0) text.delete(at, remove);
        if (change.insert !== "") text.insert(at, change.insert);
      }, origin);
    }
    agreed = text.toString();
    if (others !== undefined) show(area.selectionStart + shift, area.selectionEnd + shift);
  };

  area.addEventListener("input", () => {
    if (!composing) take();
  });
  // What others write while a composition is open would break it, so it is shown at its end.
  area.addEventListener("compositionstart", () => {
    composing = true;
  });
  area.addEventListener("compositionend", () => {
    composing = false;
    take();
  });
  area.addEventListener("beforeinput", (event) => {
    if (event.inputType === "historyUndo") step(event, () => history.undo());
    if (event.inputType === "historyRedo") step(event, () => history.redo());
  });
  area.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    const key = event.key.toLowerCase();
    if (key === "z") step(event, () => (event.shiftKey ? history.redo() : history.undo()));
    if (key === "y") step(event, () => history.redo());
  });
  text.observe((event, transaction) => {
    if (transaction.origin === origin || composing) return;
    show(carried(area.selectionStart, event.delta), carried(area.selectionEnd, event.delta));
  });
  show(0, 0);
}

interface Change {
  readonly at: number;
  readonly remove: number;
  readonly insert: string;
}

/**
 * The one replacement that turns `before` into `after`. What stands after the caret was not typed, so it is
 * matched first: of two equal letters the one at the caret counts as new.
 */
function smallestChange(before: string, after: string, caret: number): Change | undefined {
  if (before === after) return undefined;
  const shorter = Math.min(before.length, after.length);
  const longestTail = Math.min(shorter, after.length - caret);
  let tail = 0;
  while (tail < longestTail && before.at(-1 - tail) === after.at(-1 - tail)) tail += 1;
  let head = 0;
  while (head < shorter - tail && before[head] === after[head]) head += 1;
  if (head > 0 && isHighSurrogate(before.charCodeAt(head - 1))) head -= 1;
  if (tail > 0 && isLowSurrogate(before.charCodeAt(before.length - tail))) tail -= 1;
  return { at: head, remove: before.length - tail - head, insert: after.slice(head, after.length - tail) };
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code <= 0xdbff;
}

function isLowSurrogate(code: number): boolean {
  return code >= 0xdc00 && code <= 0xdfff;
}

/** Where a caret stands after someone else's change. */
function carried(caret: number, delta: Y.YTextEvent["delta"]): number {
  let at = 0;
  let moved = caret;
  for (const part of delta) {
    if (at > moved) break;
    if (part.retain !== undefined) at += part.retain;
    else if (typeof part.insert === "string") {
      if (at < moved) moved += part.insert.length;
      at += part.insert.length;
    } else if (part.delete !== undefined) moved -= Math.min(part.delete, moved - at);
  }
  return moved;
}

function step(event: Event, act: () => void): void {
  event.preventDefault();
  act();
}
