/** The rows of the conversation list, sorted and filtered, brought up to date row by row. */
import { order } from "../model/register.ts";
import type { ConversationRow } from "./conversations.ts";

/** Which conversations a list shows. */
export interface ListFilter {
  /** Only archived ones, or none of them (the default). */
  readonly archived?: boolean;
  /** Only deleted ones, or none of them (the default); deleted ones whether archived or not. */
  readonly deleted?: boolean;
  readonly folder?: string | null;
  readonly tag?: string;
  /** Words that the title holds, in any case. */
  readonly words?: string;
}

/** So many changed rows are put in one by one; more of them are sorted and merged in. */
const ONE_BY_ONE = 64;

export function fits(row: ConversationRow, filter: ListFilter): boolean {
  const { archived = false, deleted = false, folder, tag, words } = filter;
  if (row.deleted !== deleted || (!deleted && row.archived !== archived)) return false;
  if (folder !== undefined && row.folder !== folder) return false;
  if (tag !== undefined && !row.tags.includes(tag)) return false;
  if (words === undefined) return true;
  const title = (row.title ?? "").toLowerCase();
  return words
    .toLowerCase()
    .split(/\s+/)
    .every((word) => title.includes(word));
}

/** Pinned ones first, then those where something happened last. */
export function byPlace(a: ConversationRow, b: ConversationRow): number {
  return Number(b.pinned) - Number(a.pinned) || b.activeAt - a.activeAt || order(b.id, a.id);
}

/** The list with changed rows replaced, put in their new place, or taken out; the same list where nothing changed. */
export function updateRows(
  before: readonly ConversationRow[],
  changed: ReadonlyMap<string, ConversationRow | undefined>,
  filter: ListFilter,
): readonly ConversationRow[] {
  const rows: ConversationRow[] = [];
  const kept = new Set<ConversationRow>();
  for (const row of before) {
    const isChanged = changed.has(row.id);
    if (isChanged && changed.get(row.id) !== row) continue;
    if (isChanged) kept.add(row);
    rows.push(row);
  }
  const added: ConversationRow[] = [];
  for (const row of changed.values()) {
    if (row !== undefined && !kept.has(row) && fits(row, filter)) added.push(row);
  }
  if (rows.length === before.length && added.length === 0) return before;
  if (added.length > ONE_BY_ONE) return merged(rows, added.sort(byPlace));
  for (const row of added) rows.splice(placeFor(rows, row), 0, row);
  return rows;
}

/** Two sorted lists as one. */
function merged(rows: readonly ConversationRow[], added: readonly ConversationRow[]): ConversationRow[] {
  const all: ConversationRow[] = [];
  let at = 0;
  for (const row of rows) {
    for (let next = added[at]; next !== undefined && byPlace(next, row) < 0; next = added[at]) {
      all.push(next);
      at += 1;
    }
    all.push(row);
  }
  return all.concat(added.slice(at));
}

function placeFor(rows: readonly ConversationRow[], row: ConversationRow): number {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const other = rows[middle];
    if (other !== undefined && byPlace(other, row) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
