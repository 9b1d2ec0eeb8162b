/**
 * What a JSON text of unknown origin will become, measured before it is parsed. A parser needs many times the size of a text that
 * is nothing but brackets, and a name that is twice in an object means something else to each reader.
 */
export interface JsonShape {
  /** The deepest nesting of objects and arrays. */
  readonly depth: number;
  /** Objects and arrays. */
  readonly containers: number;
  /** Names of members, over all objects. */
  readonly names: number;
  /** Names in the object with the most names. */
  readonly members: number;
  /** Upper bound of members, items and containers. */
  readonly values: number;
}

/** Deeper objects are not counted one by one; their names count for the whole text only. */
const DEPTH_COUNTED = 64;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;

/** For a text that is not JSON, the numbers bound what a parser sees before it gives up. */
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

/** The names in a parsed value: fewer than in its text if an object has one twice. */
export function countNames(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  const items: unknown[] = Array.isArray(value) ? value : Object.values(value);
  let count = Array.isArray(value) ? 0 : items.length;
  for (const item of items) count += countNames(item);
  return count;
}
