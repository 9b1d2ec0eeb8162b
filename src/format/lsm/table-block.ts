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
 * Walks through the entries of an uncompressed block that has no `blockDamage`. Nothing is allocated for an entry: the fields
 * say where in `bytes` it stands, and the two u64 are halves.
 */
export class EntryCursor {
  bytes: Buffer = Buffer.alloc(0);
  /** What ended the walk before the block did. */
  damage: Damage | undefined;
  /** Offset of the present entry in `bytes`. */
  offset = 0;
  isPut = true;
  keyAt = 0;
  valueAt = 0;
  end = 0;
  timestampHigh = 0;
  timestampLow = 0;
  sequenceHigh = 0;
  sequenceLow = 0;
  #at = 0; // where the block stands in the file
  #count = 0;
  #rest = 0; // entries to come

  /**
   * Stands before the first entry of a block.
   * @param at Where the block stands in the file.
   */
  begin(bytes: Buffer, at: number): this {
    this.bytes = bytes;
    this.damage = undefined;
    this.end = BLOCK_HEADER_BYTES;
    this.#at = at;
    this.#count = bytes.readUInt32LE(ENTRY_COUNT_AT);
    this.#rest = this.#count;
    return this;
  }

  /** Steps to the next entry; false at the end, and when there is `damage`. */
  next(): boolean {
    const { bytes, end: offset } = this;
    const blockEnd = bytes.byteLength - CRC_BYTES;
    if (offset >= blockEnd) {
      if (this.#rest === 0) return false;
      const present = this.#count - this.#rest;
      return this.#fail(0, `a block declares ${this.#count} entries and has ${present}`);
    }
    if (this.#rest === 0) return this.#fail(offset, `a block of ${this.#count} entries goes on behind them`);
    const keyAt = offset + ENTRY_HEADER_BYTES;
    if (keyAt > blockEnd) return this.#fail(offset, 'an entry goes past the end of its block');
    const valueAt = keyAt + bytes.readUInt32LE(offset + KEY_LENGTH_AT);
    const end = valueAt + bytes.readUInt32LE(offset + VALUE_LENGTH_AT);
    if (end > blockEnd) return this.#fail(offset, 'an entry goes past the end of its block');
    const type = bytes[offset + TYPE_AT]!;
    if (type > DELETE) return this.#fail(offset, `an entry has the unknown type ${type}`);
    if (type === DELETE && end > valueAt) return this.#fail(offset, 'a tombstone has a value');
    this.#rest--;
    this.offset = offset;
    this.isPut = type === PUT;
    this.keyAt = keyAt;
    this.valueAt = valueAt;
    this.end = end;
    this.timestampLow = bytes.readUInt32LE(offset + TIMESTAMP_AT);
    this.timestampHigh = bytes.readUInt32LE(offset + TIMESTAMP_AT + 4);
    this.sequenceLow = bytes.readUInt32LE(offset + SEQUENCE_AT);
    this.sequenceHigh = bytes.readUInt32LE(offset + SEQUENCE_AT + 4);
    return true;
  }

  /** The present key; shares memory with the block. */
  key(): Buffer {
    return this.bytes.subarray(this.keyAt, this.valueAt);
  }

  #fail(offset: number, message: string): false {
    this.damage = damaged('TABLE_BLOCK', this.#at + offset, message).damage;
    return false;
  }
}

/**
 * The entries of an uncompressed block that has no `blockDamage`; keys and values are views into it.
 * @param at Where the block stands in the file.
 */
export function decodeBlock(bytes: Buffer, at: number): Decoded<TableEntry[]> {
  const entries: TableEntry[] = [];
  const cursor = new EntryCursor().begin(bytes, at);
  while (cursor.next()) {
    entries.push({
      type: cursor.isPut ? 'put' : 'delete',
      timestamp: bytes.readBigUInt64LE(cursor.offset + TIMESTAMP_AT),
      sequence: bytes.readBigUInt64LE(cursor.offset + SEQUENCE_AT),
      key: cursor.key(),
      value: bytes.subarray(cursor.valueAt, cursor.end),
    });
  }
  return cursor.damage === undefined ? { value: entries } : { damage: cursor.damage };
}
