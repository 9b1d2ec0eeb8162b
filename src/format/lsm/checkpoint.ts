import { crc32 } from '../crc32.ts';

/**
 * `checkpoint.meta`: up to which commit the log is already in the tables.
 *
 * `u32 version | u64 lsn | u64 created at, epoch milliseconds | u32 CRC-32 of bytes [0,20)`, little-endian.
 */
export interface Checkpoint {
  readonly lsn: bigint;
  readonly createdAtMs: bigint;
}

export const CHECKPOINT_BYTES = 24;

const VERSION = 1;
const VERSION_AT = 0;
const LSN_AT = 4;
const CREATED_AT = 12;
const CRC_AT = 20;

export type DecodedCheckpoint =
  | { readonly checkpoint: Checkpoint; readonly problem?: undefined }
  | { readonly checkpoint?: undefined; readonly problem: string };

/** Bytes past the 24th are ignored, as the engine does. With a problem, the engine behaves as if there were no file. */
export function decodeCheckpoint(bytes: Uint8Array): DecodedCheckpoint {
  if (bytes.byteLength < CHECKPOINT_BYTES) {
    return { problem: `it has ${bytes.byteLength} bytes and needs ${CHECKPOINT_BYTES}` };
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, CHECKPOINT_BYTES);
  const version = view.getUint32(VERSION_AT, true);
  if (version !== VERSION) return { problem: `its version is ${version} and not ${VERSION}` };
  if (view.getUint32(CRC_AT, true) !== crc32(bytes.subarray(0, CRC_AT))) {
    return { problem: 'its checksum does not match' };
  }
  return {
    checkpoint: {
      lsn: view.getBigUint64(LSN_AT, true),
      createdAtMs: view.getBigUint64(CREATED_AT, true),
    },
  };
}

export function encodeCheckpoint(checkpoint: Checkpoint): Buffer {
  const bytes = Buffer.alloc(CHECKPOINT_BYTES);
  bytes.writeUInt32LE(VERSION, VERSION_AT);
  bytes.writeBigUInt64LE(checkpoint.lsn, LSN_AT);
  bytes.writeBigUInt64LE(checkpoint.createdAtMs, CREATED_AT);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, CRC_AT)), CRC_AT);
  return bytes;
}
