import { type Damage, type Decoded, damaged, TABLE_HEADER_BYTES } from './table.ts';
import { BLOCK_OVERHEAD_BYTES } from './table-block.ts';

/**
 * A decoded index takes many times its size in the file, and a sparse file can claim any size. This is enough for about 1.5
 * million blocks, a table of 6 GB.
 */
export const MAX_INDEX_BYTES = 64 * 1024 * 1024;

/**
 * The index of a table: where each data block stands and which keys it spans, ascending.
 *
 * `u32 count`, then as many times `u64 offset | u32 size | u32 length, first key | u32 length, last key`.
 */
export interface IndexEntry {
  /** In the file. */
  readonly offset: number;
  /** Of the whole block, its CRC included. */
  readonly sizeBytes: number;
  readonly firstKey: Buffer;
  readonly lastKey: Buffer;
}

const COUNT_BYTES = 4;
const OFFSET_AT = 0;
const SIZE_AT = 8;
const FIRST_KEY_AT = 12;
const KEY_LENGTH_BYTES = 4;
const MIN_ENTRY_BYTES = FIRST_KEY_AT + 2 * KEY_LENGTH_BYTES;

export const indexEntryBytes = (firstKey: Uint8Array, lastKey: Uint8Array): number =>
  MIN_ENTRY_BYTES + firstKey.byteLength + lastKey.byteLength;

export function encodeIndex(entries: readonly IndexEntry[]): Buffer {
  let total = COUNT_BYTES;
  for (const entry of entries) total += indexEntryBytes(entry.firstKey, entry.lastKey);
  const bytes = Buffer.allocUnsafe(total);
  bytes.writeUInt32LE(entries.length, 0);
  let at = COUNT_BYTES;
  for (const entry of entries) {
    bytes.writeBigUInt64LE(BigInt(entry.offset), at + OFFSET_AT);
    bytes.writeUInt32LE(entry.sizeBytes, at + SIZE_AT);
    at += FIRST_KEY_AT;
    for (const key of [entry.firstKey, entry.lastKey]) {
      at = bytes.writeUInt32LE(key.byteLength, at);
      bytes.set(key, at);
      at += key.byteLength;
    }
  }
  return bytes;
}

/**
 * Decodes exactly the bytes of the index; the keys are views into them. `indexDamage` checks what the entries say.
 * @param at Where the index stands in the file.
 */
export function decodeIndex(bytes: Buffer, at: number): Decoded<IndexEntry[]> {
  if (bytes.byteLength < COUNT_BYTES)
    return damaged('TABLE_INDEX', at, 'the index has no room for its count');
  const count = bytes.readUInt32LE(0);
  if (count > (bytes.byteLength - COUNT_BYTES) / MIN_ENTRY_BYTES) {
    return damaged('TABLE_INDEX', at, `the index has no room for the ${count} blocks that it declares`);
  }
  const entries: IndexEntry[] = [];
  let next = COUNT_BYTES;
  for (let i = 0; i < count; i++) {
    if (bytes.byteLength - next < MIN_ENTRY_BYTES) {
      return damaged('TABLE_INDEX', at + next, `the index ends in its entry ${i}`);
    }
    // Beyond 2^53 it is rounded, and still outside of any file.
    const offset = bytes.readUInt32LE(next + OFFSET_AT) + 2 ** 32 * bytes.readUInt32LE(next + OFFSET_AT + 4);
    const sizeBytes = bytes.readUInt32LE(next + SIZE_AT);
    const firstKey = readKey(bytes, next + FIRST_KEY_AT);
    if (firstKey === undefined) {
      return damaged('TABLE_INDEX', at + next, `the first key of block ${i} is longer than the index`);
    }
    const lastKey = readKey(bytes, firstKey.next);
    if (lastKey === undefined) {
      return damaged('TABLE_INDEX', at + next, `the last key of block ${i} is longer than the index`);
    }
    entries.push({ offset, sizeBytes, firstKey: firstKey.key, lastKey: lastKey.key });
    next = lastKey.next;
  }
  if (next !== bytes.byteLength) {
    return damaged(
      'TABLE_INDEX',
      at + next,
      `${bytes.byteLength - next} bytes stand behind the index's last entry`,
    );
  }
  return { value: entries };
}

function readKey(bytes: Buffer, at: number): { key: Buffer; next: number } | undefined {
  if (bytes.byteLength - at < KEY_LENGTH_BYTES) return undefined;
  const from = at + KEY_LENGTH_BYTES;
  const length = bytes.readUInt32LE(at);
  if (length > bytes.byteLength - from) return undefined;
  return { key: bytes.subarray(from, from + length), next: from + length };
}

/**
 * All damage in the entries of an index. Blocks must lie back to back from the header to the index, as many as the header
 * counts, and their keys must ascend. Two blocks may share a key: its versions may go on in the next block.
 * @param at Where the index stands in the file, which is where the blocks end.
 */
export function indexDamage(entries: readonly IndexEntry[], blockCount: number, at: number): Damage[] {
  const found: Damage[] = [];
  const add = (message: string): void => void found.push({ code: 'TABLE_INDEX', offset: at, message });
  if (entries.length !== blockCount) {
    add(`the index has ${entries.length} blocks and the header counts ${blockCount}`);
  }
  let expected = TABLE_HEADER_BYTES;
  let before: IndexEntry | undefined;
  for (const [i, entry] of entries.entries()) {
    const end = entry.offset + entry.sizeBytes;
    if (entry.sizeBytes < BLOCK_OVERHEAD_BYTES || entry.offset < TABLE_HEADER_BYTES || end > at) {
      add(`block ${i} lies outside the blocks: ${entry.sizeBytes} bytes from ${entry.offset}`);
    } else if (entry.offset !== expected) {
      add(`block ${i} begins at ${entry.offset} and not at ${expected}, behind the one before`);
    }
    expected = end;
    if (compareNeighbours(entry.firstKey, entry.lastKey) > 0)
      add(`the first key of block ${i} is above its last`);
    if (before !== undefined && compareNeighbours(before.lastKey, entry.firstKey) > 0) {
      add(`block ${i} begins with a key below the last of the block before`);
    }
    before = entry;
  }
  if (expected !== at && found.length === 0)
    add(`${at - expected} bytes stand between the last block and the index`);
  return found;
}

/** Neighbours differ after a few bytes: a loop here is faster than a call into native code. */
function compareNeighbours(a: Buffer, b: Buffer): number {
  const common = Math.min(a.byteLength, b.byteLength);
  for (let at = 0; at < common; at++) {
    const difference = a[at]! - b[at]!;
    if (difference !== 0) return difference;
  }
  return a.byteLength - b.byteLength;
}

/**
 * The first block that may hold `key`: the first whose last key is not below it; as many as there are blocks if none.
 * The newest version of a key is the first entry of that key there.
 */
export function findBlock(entries: readonly IndexEntry[], key: Uint8Array): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (entries[middle]!.lastKey.compare(key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The last block that may hold a key not above `key`: the last whose first key is not above it; -1 if none. */
export function findLastBlock(entries: readonly IndexEntry[], key: Uint8Array): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (entries[middle]!.firstKey.compare(key) <= 0) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
