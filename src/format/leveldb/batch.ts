import { decodeVarint } from '../varint.ts';
import { TYPE_DELETION, TYPE_VALUE } from './internal-key.ts';

/**
 * A record of the write-ahead log: all operations of one write, which take effect together.
 *
 *     0  u64  sequence of the first operation
 *     8  u32  number of operations
 *    12       operations: 1 | key | value (put) or 0 | key (delete), key and value with a varint length in front
 */

export const BATCH_HEADER_BYTES = 12;

const AT_SEQUENCE = 0;
const AT_COUNT = 8;

export interface BatchHeader {
  readonly sequence: bigint;
  readonly count: number;
}

export type BatchOperation =
  | { readonly type: 'put'; readonly key: Buffer; readonly value: Buffer }
  | { readonly type: 'delete'; readonly key: Buffer };

/** Undefined when `payload` is too short. */
export function decodeBatchHeader(payload: Buffer): BatchHeader | undefined {
  if (payload.length < BATCH_HEADER_BYTES) return undefined;
  return { sequence: payload.readBigUInt64LE(AT_SEQUENCE), count: payload.readUInt32LE(AT_COUNT) };
}

/**
 * Reads a batch to its end and hands each operation to `visit`; keys and values share memory with `payload`.
 * Returns why it does not parse exactly, or undefined when it does.
 */
export function scanBatch(payload: Buffer, visit?: (operation: BatchOperation) => void): string | undefined {
  const header = decodeBatchHeader(payload);
  if (header === undefined) return `a batch of ${payload.length} bytes is too short for its header`;
  let at = BATCH_HEADER_BYTES;
  let found = 0;
  while (at < payload.length) {
    const type = payload[at++]!;
    if (type !== TYPE_VALUE && type !== TYPE_DELETION)
      return `operation ${found} has the unknown type ${type}`;
    const keyAt = decodeVarint(payload, at);
    if (keyAt === undefined || keyAt.value > payload.length - keyAt.next) {
      return `the key of operation ${found} goes beyond the batch`;
    }
    at = keyAt.next + keyAt.value;
    let valueAt = { value: 0, next: at };
    if (type === TYPE_VALUE) {
      const decoded = decodeVarint(payload, at);
      if (decoded === undefined || decoded.value > payload.length - decoded.next) {
        return `the value of operation ${found} goes beyond the batch`;
      }
      valueAt = decoded;
      at = valueAt.next + valueAt.value;
    }
    found++;
    if (visit === undefined) continue;
    const key = payload.subarray(keyAt.next, keyAt.next + keyAt.value);
    if (type === TYPE_DELETION) visit({ type: 'delete', key });
    else visit({ type: 'put', key, value: payload.subarray(valueAt.next, at) });
  }
  return found === header.count ? undefined : `${found} operations, and the header says ${header.count}`;
}
