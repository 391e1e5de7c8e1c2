/**
 * JSON in and out of Yjs values without loss. What Yjs or its limits do not take as it is goes in as
 * `{"$json": "<text>"}`: what is nested deeper than 12, and an object that looks like such a wrapper itself.
 */

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };

const DEPTH = 12;
const READ_DEPTH = 64;
const WRAPPED = "$json";

/** Turns JSON into a value to store; what JSON has not is left out. */
export function store(value: unknown): Json {
  return storeAt(value, DEPTH);
}

function storeAt(value: unknown, depth: number): Json {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (Array.isArray(value)) {
    return depth > 0 ? value.map((item) => storeAt(item, depth - 1)) : wrap(value);
  }
  if (!isRecord(value)) return null;
  const plain: unknown = typeof value["toJSON"] === "function" ? value["toJSON"]() : value;
  if (!isRecord(plain)) return storeAt(plain, depth);
  const keys = Object.keys(plain);
  if (depth === 0 || (keys.length === 1 && keys[0] === WRAPPED)) return wrap(plain);
  const known = Object.entries(plain).filter(([, item]) => item !== undefined);
  return Object.fromEntries(known.map(([key, item]) => [key, storeAt(item, depth - 1)]));
}

function wrap(value: unknown): Json {
  return { [WRAPPED]: JSON.stringify(value) };
}

/** Turns a stored value back into JSON. */
export function read(value: unknown): Json {
  return readAt(value, READ_DEPTH);
}

function readAt(value: unknown, depth: number): Json {
  if (typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (depth === 0 || value instanceof Uint8Array) return null;
  if (Array.isArray(value)) return value.map((item) => readAt(item, depth - 1));
  if (!isRecord(value)) return null;
  const entries = Object.entries(value);
  const [first] = entries;
  if (entries.length === 1 && first?.[0] === WRAPPED && typeof first[1] === "string") {
    const unwrapped = parse(first[1]);
    if (unwrapped !== undefined) return unwrapped;
  }
  const known = entries.filter(([, item]) => item !== undefined);
  return Object.fromEntries(known.map(([key, item]) => [key, readAt(item, depth - 1)]));
}

/** Parses JSON; undefined where it is none. */
export function parse(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** A whole number that is not negative and that a double holds exactly. */
export function whole(value: unknown): number | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

/** Says whether two stored values say the same. */
export function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, at) => same(item, b[at]));
  }
  if (!isRecord(a) || !isRecord(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => key in b && same(a[key], b[key]));
}
