import { crc32 } from '../crc32.ts';
import { type Damage, type Decoded, damaged } from './table.ts';

/**
 * One version of a key.
 *
 * `u8 type | u64 timestamp | u64 sequence | u32 key length | u32 value length | key | value`. The timestamp is the commit's LSN,
 * the sequence the place of the operation in its batch, from 1. A tombstone has type 1 and no value; an empty value is a
 * put of length 0, and another thing.
 */
export interface TableEntry {
  readonly type: 'put' | 'delete';
  readonly timestamp: bigint;
  readonly sequence: bigint;
  readonly key: Buffer;
  /** Empty for a tombstone. */
  readonly value: Buffer;
}

export const ENTRY_HEADER_BYTES = 25;
const TYPE_AT = 0;
const TIMESTAMP_AT = 1;
const SEQUENCE_AT = 9;
const KEY_LENGTH_AT = 17;
const VALUE_LENGTH_AT = 21;

const PUT = 0;
const DELETE = 1;

/** Ascending by key, the newest version of a key first. Zero only for the same key, timestamp and sequence. */
export function compareEntries(a: TableEntry, b: TableEntry): number {
  const byKey = a.key.compare(b.key);
  if (byKey !== 0) return byKey;
  if (a.timestamp !== b.timestamp) return a.timestamp > b.timestamp ? -1 : 1;
  if (a.sequence !== b.sequence) return a.sequence > b.sequence ? -1 : 1;
  return 0;
}

export const tableEntryBytes = (entry: Pick<TableEntry, 'key' | 'value'>): number =>
  ENTRY_HEADER_BYTES + entry.key.byteLength + entry.value.byteLength;

/** A data block: `u32 entry count | u32 payload length before compression | payload | u32 CRC-32 of all before it`. */
export const BLOCK_HEADER_BYTES = 8;
const ENTRY_COUNT_AT = 0;
const PAYLOAD_BYTES_AT = 4;
const CRC_BYTES = 4;
export const BLOCK_OVERHEAD_BYTES = BLOCK_HEADER_BYTES + CRC_BYTES;

/** A block is closed before an entry that would take it beyond this; a larger entry has a block of its own. */
export const BLOCK_TARGET_BYTES = 4096;

/** @param payloadBytes The sum of the entries' `tableEntryBytes`. */
export function encodeBlock(entries: readonly TableEntry[], payloadBytes: number): Buffer {
  const bytes = Buffer.allocUnsafe(payloadBytes + BLOCK_OVERHEAD_BYTES);
  bytes.writeUInt32LE(entries.length, ENTRY_COUNT_AT);
  bytes.writeUInt32LE(payloadBytes, PAYLOAD_BYTES_AT);
  let at = BLOCK_HEADER_BYTES;
  for (const entry of entries) {
    bytes[at + TYPE_AT] = entry.type === 'put' ? PUT : DELETE;
    bytes.writeBigUInt64LE(entry.timestamp, at + TIMESTAMP_AT);
    bytes.writeBigUInt64LE(entry.sequence, at + SEQUENCE_AT);
    bytes.writeUInt32LE(entry.key.byteLength, at + KEY_LENGTH_AT);
    bytes.writeUInt32LE(entry.value.byteLength, at + VALUE_LENGTH_AT);
    bytes.set(entry.key, at + ENTRY_HEADER_BYTES);
    bytes.set(entry.value, at + ENTRY_HEADER_BYTES + entry.key.byteLength);
    at += tableEntryBytes(entry);
  }
  bytes.writeUInt32LE(crc32(bytes.subarray(0, at)), at);
  return bytes;
}

/**
 * The checksum of a whole block, and its length.
 * @param at Where the block stands in the file.
 */
export function blockDamage(bytes: Buffer, at: number): Damage | undefined {
  if (bytes.byteLength < BLOCK_OVERHEAD_BYTES) {
    return damaged('TABLE_BLOCK', at, `a block cannot have ${bytes.byteLength} bytes`).damage;
  }
  const crcAt = bytes.byteLength - CRC_BYTES;
  if (bytes.readUInt32LE(crcAt) !== crc32(bytes.subarray(0, crcAt))) {
    return damaged('TABLE_BLOCK_CHECKSUM', at, 'the checksum of a block does not match').damage;
  }
  const declared = bytes.readUInt32LE(PAYLOAD_BYTES_AT);
  const present = bytes.byteLength - BLOCK_OVERHEAD_BYTES;
  if (declared !== present) {
    return damaged('TABLE_BLOCK', at, `a block declares ${declared} bytes of entries and has ${present}`)
      .damage;
  }
  return undefined;
}

/**
 * The entries of an uncompressed block that has no `blockDamage`; keys and values are views into it.
 * @param at Where the block stands in the file.
 */
export function decodeBlock(bytes: Buffer, at: number): Decoded<TableEntry[]> {
  const end = bytes.byteLength - CRC_BYTES;
  const count = bytes.readUInt32LE(ENTRY_COUNT_AT);
  const entries: TableEntry[] = [];
  let next = BLOCK_HEADER_BYTES;
  while (next < end) {
    if (entries.length === count)
      return damaged('TABLE_BLOCK', at + next, `a block of ${count} entries goes on behind them`);
    const size = entrySize(bytes, next, end);
    if (size === undefined)
      return damaged('TABLE_BLOCK', at + next, 'an entry goes past the end of its block');
    const type = bytes[next + TYPE_AT]!;
    if (type !== PUT && type !== DELETE)
      return damaged('TABLE_BLOCK', at + next, `an entry has the unknown type ${type}`);
    const keyAt = next + ENTRY_HEADER_BYTES;
    const valueAt = keyAt + bytes.readUInt32LE(next + KEY_LENGTH_AT);
    if (type === DELETE && next + size > valueAt) {
      return damaged('TABLE_BLOCK', at + next, 'a tombstone has a value');
    }
    entries.push({
      type: type === PUT ? 'put' : 'delete',
      timestamp: bytes.readBigUInt64LE(next + TIMESTAMP_AT),
      sequence: bytes.readBigUInt64LE(next + SEQUENCE_AT),
      key: bytes.subarray(keyAt, valueAt),
      value: bytes.subarray(valueAt, next + size),
    });
    next += size;
  }
  if (entries.length !== count) {
    return damaged('TABLE_BLOCK', at, `a block declares ${count} entries and has ${entries.length}`);
  }
  return { value: entries };
}

function entrySize(bytes: Buffer, at: number, end: number): number | undefined {
  if (end - at < ENTRY_HEADER_BYTES) return undefined;
  const size =
    ENTRY_HEADER_BYTES + bytes.readUInt32LE(at + KEY_LENGTH_AT) + bytes.readUInt32LE(at + VALUE_LENGTH_AT);
  return size > end - at ? undefined : size;
}
