/**
 * Cuts a large update into smaller ones that come to the same: applied one after the other they leave the page free in
 * between, where the whole would hold it for as long as a conversation is large.
 *
 * Each slice builds only on what is here or in a slice before it, so that Yjs never keeps one waiting, and takes along the
 * deletions of what it brings: nothing that is gone shows for a moment. Content is skipped over, not read.
 */
import { createDecoder, type Decoder, readUint8, readVarUint } from "lib0/decoding";
import { createEncoder, type Encoder, toUint8Array, writeUint8Array, writeVarUint } from "lib0/encoding";

/** One client's run of structs. */
interface Run {
  readonly client: number;
  /** Where each begins in the update, and where the last one ends. */
  readonly places: number[];
  /** The clock of each, and the one after the last. */
  readonly clocks: number[];
  /** Ids of other clients that a struct builds on: client and clock in turn. */
  readonly needs: Map<number, number[]>;
  /** The first one that is in no slice yet. */
  next: number;
}

type Range = readonly [clock: number, length: number];

/** Update format 1 of Yjs. */
const KIND = 0b1_1111;
const HAS_LEFT = 0b1000_0000;
const HAS_RIGHT = 0b0100_0000;
const HAS_KEY = 0b0010_0000;
/** The deepest nesting of plain values that is followed. */
const DEPTH = 64;

/** Structs that are looked at in one go. */
const LOOKS = 4_000;

/**
 * Slices of about so many bytes; the update itself where it is of a form that is not known here. Undefined comes where
 * there is no slice yet, so that the look ahead does not hold the page either.
 */
export function* slicesOf(update: Uint8Array, bytes: number): Generator<Uint8Array | undefined, void> {
  const parsed = yield* parse(update);
  if (parsed === undefined) {
    yield update;
    return;
  }
  const { runs, deletions, end } = parsed;
  const byClient = new Map(runs.map((run) => [run.client, run]));
  let begun = new Map<Run, number>();
  let size = 0;
  for (const run of runs) {
    while (run.next < run.clocks.length - 1) {
      size += bring(run, byClient, begun);
      if (size < bytes) continue;
      yield encode(update, begun, (encoder) => writeDeletions(encoder, begun, deletions));
      begun = new Map();
      size = 0;
    }
  }
  // All deletions: those of what was here before, too.
  yield encode(update, begun, (encoder) => writeUint8Array(encoder, update.subarray(end)));
}

/** Takes the next struct of a run into the slice, after what it builds on; answers how many bytes came. */
function bring(run: Run, byClient: ReadonlyMap<number, Run>, begun: Map<Run, number>): number {
  let size = 0;
  const stack = [run];
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const missing = missingOf(top, byClient);
    // A circle is no update that Yjs makes: it will judge that itself.
    if (missing !== undefined && !stack.includes(missing)) {
      stack.push(missing);
      continue;
    }
    if (!begun.has(top)) begun.set(top, top.next);
    size += (top.places[top.next + 1] ?? 0) - (top.places[top.next] ?? 0);
    top.next += 1;
    stack.pop();
  }
  return size;
}

function missingOf(run: Run, byClient: ReadonlyMap<number, Run>): Run | undefined {
  const needs = run.needs.get(run.next) ?? [];
  for (let at = 0; at < needs.length; at += 2) {
    const other = byClient.get(needs[at] ?? -1);
    const reached = other?.clocks[other.next];
    const isLeft = other !== undefined && other.next < other.clocks.length - 1;
    if (isLeft && reached !== undefined && (needs[at + 1] ?? 0) >= reached) return other;
  }
  return undefined;
}

function encode(
  update: Uint8Array,
  begun: ReadonlyMap<Run, number>,
  writeRest: (encoder: Encoder) => void,
): Uint8Array {
  const encoder = createEncoder();
  writeVarUint(encoder, begun.size);
  for (const [run, from] of begun) {
    writeVarUint(encoder, run.next - from);
    writeVarUint(encoder, run.client);
    writeVarUint(encoder, run.clocks[from] ?? 0);
    writeUint8Array(encoder, update.subarray(run.places[from], run.places[run.next]));
  }
  writeRest(encoder);
  return toUint8Array(encoder);
}

/** The deletions of what a slice brings. */
function writeDeletions(
  encoder: Encoder,
  begun: ReadonlyMap<Run, number>,
  deletions: ReadonlyMap<number, readonly Range[]>,
): void {
  const clients: (readonly [number, readonly Range[]])[] = [];
  for (const [run, from] of begun) {
    const [low, high] = [run.clocks[from] ?? 0, run.clocks[run.next] ?? 0];
    const ranges = (deletions.get(run.client) ?? []).flatMap(([clock, length]): Range[] => {
      const [start, end] = [Math.max(clock, low), Math.min(clock + length, high)];
      return end > start ? [[start, end - start]] : [];
    });
    if (ranges.length > 0) clients.push([run.client, ranges]);
  }
  writeVarUint(encoder, clients.length);
  for (const [client, ranges] of clients) {
    writeVarUint(encoder, client);
    writeVarUint(encoder, ranges.length);
    for (const [clock, length] of ranges) {
      writeVarUint(encoder, clock);
      writeVarUint(encoder, length);
    }
  }
}

interface Parsed {
  readonly runs: readonly Run[];
  readonly deletions: ReadonlyMap<number, readonly Range[]>;
  /** Where the structs end and the deletions begin. */
  readonly end: number;
}

function* parse(update: Uint8Array): Generator<undefined, Parsed | undefined> {
  try {
    const decoder = createDecoder(update);
    const runs: Run[] = [];
    for (let left = readVarUint(decoder); left > 0; left -= 1) {
      const run = yield* readRun(decoder);
      if (run === undefined) return undefined;
      runs.push(run);
    }
    const end = decoder.pos;
    const deletions = new Map<number, Range[]>();
    for (let left = readVarUint(decoder); left > 0; left -= 1) {
      const [client, ranges]: [number, Range[]] = [readVarUint(decoder), []];
      for (let more = readVarUint(decoder); more > 0; more -= 1) {
        ranges.push([readVarUint(decoder), readVarUint(decoder)]);
      }
      deletions.set(client, ranges);
    }
    const isWhole =
      decoder.pos === update.length && new Set(runs.map(({ client }) => client)).size === runs.length;
    return isWhole ? { runs, deletions, end } : undefined;
  } catch {
    // Cut off: what Yjs makes of it is its own affair.
    return undefined;
  }
}

function* readRun(decoder: Decoder): Generator<undefined, Run | undefined> {
  let left = readVarUint(decoder);
  const client = readVarUint(decoder);
  let clock = readVarUint(decoder);
  const run: Run = { client, places: [decoder.pos], clocks: [clock], needs: new Map(), next: 0 };
  for (; left > 0; left -= 1) {
    const length = skipStruct(decoder, run);
    if (length === undefined || decoder.pos > decoder.arr.length) return undefined;
    clock += length;
    run.places.push(decoder.pos);
    run.clocks.push(clock);
    if (run.clocks.length % LOOKS === 0) yield undefined;
  }
  return run;
}

/** Passes over one struct and notes what it builds on; answers its length in clocks. */
function skipStruct(decoder: Decoder, run: Run): number | undefined {
  const info = readUint8(decoder);
  const kind = info & KIND;
  // Collected; a gap (10) is nothing that can be cut around.
  if (kind === 0) return readVarUint(decoder);
  if ((info & HAS_LEFT) !== 0) need(decoder, run);
  if ((info & HAS_RIGHT) !== 0) need(decoder, run);
  if ((info & (HAS_LEFT | HAS_RIGHT)) === 0) {
    if (readVarUint(decoder) === 1) skipBytes(decoder);
    else need(decoder, run);
    if ((info & HAS_KEY) !== 0) skipBytes(decoder);
  }
  return skipContent(decoder, kind);
}

function need(decoder: Decoder, run: Run): void {
  const [client, clock] = [readVarUint(decoder), readVarUint(decoder)];
  // A client's own structs stand in their order anyway.
  if (client === run.client) return;
  const at = run.clocks.length - 1;
  const needs = run.needs.get(at);
  if (needs === undefined) run.needs.set(at, [client, clock]);
  else needs.push(client, clock);
}

/** Passes over an item's content; answers its length, undefined for a kind that is not known. */
function skipContent(decoder: Decoder, kind: number): number | undefined {
  switch (kind) {
    case 1: // Deleted.
      return readVarUint(decoder);
    case 2: // JSON, as old versions wrote it.
    case 8: {
      // Plain values.
      const count = readVarUint(decoder);
      for (let left = count; left > 0; left -= 1) {
        if (kind === 2) skipBytes(decoder);
        else if (!skipValue(decoder, DEPTH)) return undefined;
      }
      return count;
    }
    case 3: // Bytes.
    case 5: // Something embedded in a text.
      skipBytes(decoder);
      return 1;
    case 4:
      return skipText(decoder);
    case 6: // A format of a text: key and value.
      skipBytes(decoder);
      skipBytes(decoder);
      return 1;
    case 7: {
      // A shared type; those of XML that have a name bring it.
      const type = readVarUint(decoder);
      if (type > 6) return undefined;
      if (type === 3 || type === 5) skipBytes(decoder);
      return 1;
    }
    default:
      return undefined;
  }
}

function skipBytes(decoder: Decoder): void {
  const length = readVarUint(decoder);
  decoder.pos += length;
}

/** A text's length counts UTF-16 units. */
function skipText(decoder: Decoder): number {
  const bytes = readVarUint(decoder);
  const end = decoder.pos + bytes;
  let units = 0;
  for (; decoder.pos < end; decoder.pos += 1) {
    const byte = decoder.arr[decoder.pos] ?? 0;
    if ((byte & 0b1100_0000) !== 0b1000_0000) units += byte >= 0b1111_0000 ? 2 : 1;
  }
  return units;
}

/** Passes over a plain value as lib0 writes it. */
function skipValue(decoder: Decoder, depth: number): boolean {
  if (depth === 0) return false;
  const type = readUint8(decoder);
  switch (type) {
    case 127: // undefined
    case 126: // null
    case 121: // false
    case 120: // true
      return true;
    case 125: // A whole number: seven bits a byte, the highest says that more follow.
      while (readUint8(decoder) >= 0b1000_0000);
      return true;
    case 124:
      decoder.pos += 4;
      return true;
    case 123:
    case 122:
      decoder.pos += 8;
      return true;
    case 119: // A text.
    case 116: // Bytes.
      skipBytes(decoder);
      return true;
    case 118:
    case 117: {
      // An object, an array.
      for (let left = readVarUint(decoder); left > 0; left -= 1) {
        if (type === 118) skipBytes(decoder);
        if (!skipValue(decoder, depth - 1)) return false;
      }
      return true;
    }
    default:
      return false;
  }
}
