/**
 * Unsigned LEB128: seven bits a byte, lowest first; the high bit says that another byte follows. At most ten bytes, a u64. Bits
 * of the tenth byte beyond 64 are dropped, as in the engines that write these files.
 */

export const MAX_VARINT_BYTES = 10;

const U64_MASK = 0xffff_ffff_ffff_ffffn;

export interface Varint<T extends number | bigint> {
  readonly value: T;
  /** Offset of the first byte behind it. */
  readonly next: number;
}

/** How many bytes `value` takes. */
export function varintLength(value: number | bigint): number {
  let length = 1;
  if (typeof value === 'number') for (let rest = value; rest >= 128; rest /= 128) length++;
  else for (let rest = value >> 7n; rest > 0n; rest >>= 7n) length++;
  return length;
}

/** Writes `value`, not negative and within u64, into `target`; returns the offset behind it. */
export function writeVarint(target: Uint8Array, offset: number, value: number | bigint): number {
  let at = offset;
  if (typeof value === 'number' && value <= 0xffff_ffff) {
    let rest = value;
    while (rest > 0x7f) {
      target[at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    target[at++] = rest;
    return at;
  }
  let rest = BigInt(value);
  while (rest > 0x7fn) {
    target[at++] = Number(rest & 0x7fn) | 0x80;
    rest >>= 7n;
  }
  target[at++] = Number(rest);
  return at;
}

export function encodeVarint(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(varintLength(value));
  writeVarint(bytes, 0, value);
  return bytes;
}

/**
 * Reads a length or a count. Undefined when the bytes end first (at `end`), when there are more than ten, or when the
 * value is no safe integer: nothing in a file can be that long.
 */
export function decodeVarint(
  bytes: Uint8Array,
  offset: number,
  end = bytes.byteLength,
): Varint<number> | undefined {
  let value = 0;
  for (let at = offset, shift = 0; at < end && shift < 28; at++, shift += 7) {
    const byte = bytes[at]!;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return { value, next: at + 1 };
  }
  const big = decodeBigVarint(bytes, offset, end);
  if (big === undefined || big.value > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  return { value: Number(big.value), next: big.next };
}

/** Reads a u64. Undefined when the bytes end first (at `end`) or when there are more than ten. */
export function decodeBigVarint(
  bytes: Uint8Array,
  offset: number,
  end = bytes.byteLength,
): Varint<bigint> | undefined {
  let value = 0n;
  for (let at = offset, shift = 0n; at < end && shift < 64n; at++, shift += 7n) {
    const byte = bytes[at]!;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return { value: value & U64_MASK, next: at + 1 };
  }
  return undefined;
}
