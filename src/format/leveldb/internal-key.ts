/**
 * Keys in tables and in the MANIFEST: user key | u64 (sequence << 8 | type). They sort by user key, and for the same
 * user key the newest comes first.
 */

export const TAG_BYTES = 8;

export const TYPE_DELETION = 0;
export const TYPE_VALUE = 1;

/** The comparator that orders user keys bytewise, as nearly every database does. */
export const BYTEWISE_COMPARATOR = 'leveldb.BytewiseComparator';

export interface InternalKey {
  readonly userKey: Buffer;
  readonly sequence: bigint;
  readonly type: number;
}

/** Undefined when `key` is too short to carry a tag. `userKey` shares memory with `key`. */
export function decodeInternalKey(key: Buffer): InternalKey | undefined {
  const end = key.length - TAG_BYTES;
  if (end < 0) return undefined;
  const tag = key.readBigUInt64LE(end);
  return { userKey: key.subarray(0, end), sequence: tag >> 8n, type: Number(tag & 0xffn) };
}

/**
 * Order of two internal keys of at least `TAG_BYTES` bytes under the bytewise comparator: negative, zero or positive.
 * Only the first `lengthA` and `lengthB` bytes count.
 */
export function compareInternalKeys(
  a: Buffer,
  b: Buffer,
  lengthA: number = a.length,
  lengthB: number = b.length,
): number {
  const endA = lengthA - TAG_BYTES;
  const endB = lengthB - TAG_BYTES;
  const common = Math.min(endA, endB);
  // Neighbours differ after a few bytes: a loop here is faster than a call into native code.
  for (let at = 0; at < common; at++) {
    const difference = a[at]! - b[at]!;
    if (difference !== 0) return difference;
  }
  if (endA !== endB) return endA - endB;
  for (let byte = TAG_BYTES - 1; byte >= 0; byte--) {
    const difference = b[endB + byte]! - a[endA + byte]!;
    if (difference !== 0) return difference;
  }
  return 0;
}
