import { StillpointError } from '../../errors.ts';
import { crc32 } from '../crc32.ts';
import { decodeVarint, varintLength, writeVarint } from '../varint.ts';

/**
 * One entry of the log: `u64 lsn | u32 len | body | u32 CRC-32 of all before it`, where `len` counts body and CRC.
 *
 * The body is `u8 type` and then, for a put (0) and a delete (1), one operation; for a batch (2) `varint count` and that many
 * times `u8 op` and an operation. An operation is `varint length, key, varint length, value`; a delete has a value of length 0
 * (the engine does not insist on it, so neither does the decoder).
 */
export type WalOp =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'delete'; readonly key: Uint8Array };

export const ENTRY_HEADER_BYTES = 12;
const LSN_AT = 0;
const LEN_AT = 8;
const CRC_BYTES = 4;
/** `len` of the shortest possible entry: a type and the CRC. */
export const MIN_ENTRY_LEN = 5;
const MAX_ENTRY_LEN = 0xffff_ffff;

const PUT = 0;
const DELETE = 1;
const BATCH = 2;

/** The size of the entry that `encodeEntry` would make, in bytes. Allocates nothing. */
export function entryBytes(ops: readonly WalOp[], as: 'single' | 'batch'): number {
  let total = ENTRY_HEADER_BYTES + CRC_BYTES;
  if (as === 'batch') total += 1 + varintLength(ops.length);
  for (const op of ops) {
    const valueBytes = op.type === 'put' ? op.value.byteLength : 0;
    total += 1 + varintLength(op.key.byteLength) + op.key.byteLength + varintLength(valueBytes) + valueBytes;
  }
  return total;
}

/**
 * The engine itself writes each transaction as one batch, its operations in ascending order of keys. The caller sorts them. `single` takes exactly one operation. `PAYLOAD_TOO_LARGE` past the u32 that holds the length.
 */
export function encodeEntry(lsn: bigint, ops: readonly WalOp[], as: 'single' | 'batch'): Buffer {
  if (as === 'single' && ops.length !== 1) {
    throw new TypeError(`ops must hold one operation for a single entry, not ${ops.length}`);
  }
  const total = entryBytes(ops, as);
  const len = total - ENTRY_HEADER_BYTES;
  if (len > MAX_ENTRY_LEN) {
    throw new StillpointError('PAYLOAD_TOO_LARGE', `a log entry of ${total} bytes is too large`);
  }
  const bytes = Buffer.allocUnsafe(total);
  bytes.writeBigUInt64LE(lsn, LSN_AT);
  bytes.writeUInt32LE(len, LEN_AT);
  let at = ENTRY_HEADER_BYTES;
  if (as === 'batch') {
    bytes[at++] = BATCH;
    at = writeVarint(bytes, at, ops.length);
  }
  for (const op of ops) {
    bytes[at++] = op.type === 'put' ? PUT : DELETE;
    at = writeBytes(bytes, at, op.key);
    if (op.type === 'put') at = writeBytes(bytes, at, op.value);
    else at = writeVarint(bytes, at, 0);
  }
  bytes.writeUInt32LE(crc32(bytes.subarray(0, at)), at);
  return bytes;
}

function writeBytes(target: Buffer, offset: number, bytes: Uint8Array): number {
  const at = writeVarint(target, offset, bytes.byteLength);
  target.set(bytes, at);
  return at + bytes.byteLength;
}

/** `len` of the entry at `offset`; its total size in the log is `ENTRY_HEADER_BYTES` + `len`. */
export const decodeEntryLen = (bytes: Buffer, offset: number): number => bytes.readUInt32LE(offset + LEN_AT);

export const decodeEntryLsn = (bytes: Buffer, offset: number): bigint =>
  bytes.readBigUInt64LE(offset + LSN_AT);

/** Both at once. */
export const decodeEntryHeader = (bytes: Buffer): { readonly lsn: bigint; readonly len: number } => ({
  lsn: decodeEntryLsn(bytes, 0),
  len: decodeEntryLen(bytes, 0),
});

export type EntryProblem = 'crc' | 'body';

/** The damage of a complete entry, or undefined. `len` is at least 5. */
export function entryProblem(
  entry: Buffer,
): { readonly kind: EntryProblem; readonly message: string } | undefined {
  const crcAt = entry.byteLength - CRC_BYTES;
  if (entry.readUInt32LE(crcAt) !== crc32(entry.subarray(0, crcAt))) {
    return { kind: 'crc', message: 'its checksum does not match' };
  }
  const message = walkBody(entry, ENTRY_HEADER_BYTES, crcAt);
  return message === undefined ? undefined : { kind: 'body', message };
}

/** The operations of an entry that has no `entryProblem`. Keys and values are views into `entry`. */
export function decodeEntryOps(entry: Buffer): WalOp[] {
  const ops: WalOp[] = [];
  walkBody(entry, ENTRY_HEADER_BYTES, entry.byteLength - CRC_BYTES, (op) => ops.push(op));
  return ops;
}

/** Parses the body in [from, end), which must end exactly there. Returns the damage, or undefined. */
function walkBody(
  bytes: Uint8Array,
  from: number,
  end: number,
  visit?: (op: WalOp) => void,
): string | undefined {
  let at = from;
  let count = 1;
  const isBatch = bytes[at] === BATCH;
  if (isBatch) {
    const declared = decodeVarint(bytes, at + 1, end);
    if (declared === undefined) return 'the count of its batch is no number';
    count = declared.value;
    at = declared.next;
  }
  for (let i = 0; i < count; i++) {
    if (at >= end) return `it ends after ${i} of ${count} operations`;
    const type = bytes[at]!;
    if (type !== PUT && type !== DELETE) {
      return isBatch ? `operation ${i} has the unknown type ${type}` : `it has the unknown type ${type}`;
    }
    const key = decodeVarint(bytes, at + 1, end);
    if (key === undefined || key.value > end - key.next) return 'a key is longer than the entry';
    const value = decodeVarint(bytes, key.next + key.value, end);
    if (value === undefined || value.value > end - value.next) return 'a value is longer than the entry';
    at = value.next + value.value;
    if (visit === undefined) continue;
    const keyBytes = bytes.subarray(key.next, key.next + key.value);
    if (type === PUT) visit({ type: 'put', key: keyBytes, value: bytes.subarray(value.next, at) });
    else visit({ type: 'delete', key: keyBytes });
  }
  return at === end ? undefined : `${end - at} bytes stand behind its last operation`;
}
