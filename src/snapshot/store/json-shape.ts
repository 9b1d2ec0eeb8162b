/**
 * How much a JSON text of unknown origin will become, found out before it is parsed: a parser needs many times the
 * size of a text that is nothing but brackets, and a text may name the same thing twice and mean something else to
 * each reader.
 */
export interface JsonShape {
  /** The deepest nesting of objects and arrays. */
  readonly depth: number;
  /** Objects and arrays. */
  readonly containers: number;
  /** Names of members, over all objects. */
  readonly names: number;
  /** Names in the object that has the most. */
  readonly members: number;
  /** Members, items and containers, counted generously. */
  readonly values: number;
}

/** Objects that lie deeper are counted by their names in all, and not one by one. */
const DEPTH_COUNTED = 64;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;

/** Of a text that is JSON; of any other, the numbers bound what a parser meets before it gives up. */
export function measureJson(bytes: Uint8Array): JsonShape {
  let depth = 0;
  let deepest = 0;
  let containers = 0;
  let names = 0;
  let members = 0;
  let commas = 0;
  const namesAt = new Array<number>(DEPTH_COUNTED + 1).fill(0);
  let isString = false;
  for (let at = 0; at < bytes.byteLength; at++) {
    const byte = bytes[at]!;
    if (isString) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) isString = false;
    } else if (byte === QUOTE) isString = true;
    else if (byte === COMMA) commas++;
    else if (byte === COLON) {
      names++;
      if (depth >= 0 && depth <= DEPTH_COUNTED) members = Math.max(members, ++namesAt[depth]!);
    } else if ((byte | 0x20) === 0x7b) {
      // "[" and "{"
      containers++;
      if (++depth > deepest) deepest = depth;
      if (depth >= 0 && depth <= DEPTH_COUNTED) namesAt[depth] = 0;
    } else if ((byte | 0x20) === 0x7d) depth--; // "]" and "}"
  }
  return { depth: deepest, containers, names, members, values: containers + commas };
}

/** The names in a parsed value: fewer than its text has, if one stands twice in the same object. */
export function countNames(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  const items: unknown[] = Array.isArray(value) ? value : Object.values(value);
  let count = Array.isArray(value) ? 0 : items.length;
  for (const item of items) count += countNames(item);
  return count;
}
