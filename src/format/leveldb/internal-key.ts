import { encodeVarint } from '../varint.ts';

/**
 * Keys in tables and in the MANIFEST: user key | u64 (sequence << 8 | type). They sort by user key, and for the same
 * user key the newest comes first.
 */

export const TAG_BYTES = 8;
export const MAX_SEQUENCE = (1n << 56n) - 1n;

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

export function encodeInternalKey(userKey: Uint8Array, sequence: bigint, type: number): Buffer {
  const key = Buffer.alloc(userKey.byteLength + TAG_BYTES);
  key.set(userKey);
  key.writeBigUInt64LE((sequence << 8n) | BigInt(type), userKey.byteLength);
  return key;
}

/** Order of two internal keys of at least `TAG_BYTES` bytes under the bytewise comparator: negative, zero or positive. */
export function compareInternalKeys(a: Buffer, b: Buffer): number {
  const endA = a.length - TAG_BYTES;
  const endB = b.length - TAG_BYTES;
  const order = a.compare(b, 0, endB, 0, endA);
  return order !== 0 ? order : compareTags(b, endB, a, endA);
}

/** Negative when the tag at `a[atA]` is the smaller one, that is, the older entry. */
function compareTags(a: Buffer, atA: number, b: Buffer, atB: number): number {
  for (let byte = TAG_BYTES - 1; byte >= 0; byte--) {
    const difference = a[atA + byte]! - b[atB + byte]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** A byte string with its length in front, as keys and names are stored. */
export function encodeLengthPrefixed(bytes: Uint8Array): Buffer {
  return Buffer.concat([encodeVarint(bytes.byteLength), bytes]);
}
