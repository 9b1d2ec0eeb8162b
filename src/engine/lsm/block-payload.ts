import * as zlib from 'node:zlib';
import { crc32 } from '../../format/crc32.ts';
import type { TableHeader } from '../../format/lsm/table.ts';
import { BLOCK_HEADER_BYTES, BLOCK_OVERHEAD_BYTES } from '../../format/lsm/table-block.ts';
import { decodeLz4Block } from '../../format/lz4.ts';

const PAYLOAD_BYTES_AT = 4;
const CRC_BYTES = 4;
const LZ4_SIZE_BYTES = 4;
/** One byte of LZ4 becomes at most this many. */
const LZ4_MAX_RATIO = 255;
/** Zstd has no such bound. No entry is larger than its log, and no log is larger than this. */
const ZSTD_MAX_BYTES = 1024 * 1024 * 1024;

/** In Node.js from 22.15 on. */
const zstd = (zlib as { zstdDecompressSync?: (bytes: Uint8Array, o: object) => Buffer }).zstdDecompressSync;

/**
 * - `block`: the same block, uncompressed. Its CRC field is not filled.
 * - `problem`: what is wrong with the compressed one.
 * - neither: this runtime cannot decompress it; the checksum held.
 */
export interface Decompressed {
  readonly block?: Buffer;
  readonly problem?: string;
}

/** Decompresses a block after its checksum. */
export function decompressBlock(
  bytes: Buffer,
  compression: Exclude<TableHeader['compression'], 'none'>,
): Decompressed & { readonly isChecksum?: boolean } {
  if (bytes.byteLength < BLOCK_OVERHEAD_BYTES)
    return { problem: `a block cannot have ${bytes.byteLength} bytes` };
  const crcAt = bytes.byteLength - CRC_BYTES;
  if (bytes.readUInt32LE(crcAt) !== crc32(bytes.subarray(0, crcAt))) {
    return { problem: 'the checksum of a block does not match', isChecksum: true };
  }
  const declared = bytes.readUInt32LE(PAYLOAD_BYTES_AT);
  const payload = bytes.subarray(BLOCK_HEADER_BYTES, crcAt);
  const { payload: inflated, problem } = INFLATE[compression](payload, declared);
  if (problem !== undefined) return { problem };
  if (inflated === undefined) return {};
  return { block: Buffer.concat([bytes.subarray(0, BLOCK_HEADER_BYTES), inflated, Buffer.alloc(CRC_BYTES)]) };
}

/** Every compression has its own: a new one does not compile without. */
const INFLATE: Readonly<
  Record<Exclude<TableHeader['compression'], 'none'>, (payload: Buffer, declared: number) => Inflated>
> = { lz4: inflateLz4, zstd: inflateZstd };

interface Inflated {
  readonly payload?: Buffer;
  readonly problem?: string;
}

function inflateLz4(payload: Buffer, declared: number): Inflated {
  if (payload.byteLength < LZ4_SIZE_BYTES) return { problem: 'a compressed block has no size' };
  const size = payload.readUInt32LE(0);
  if (size !== declared)
    return { problem: `a block declares ${declared} bytes and its compressed part ${size}` };
  if (size > payload.byteLength * LZ4_MAX_RATIO)
    return { problem: `a block of ${payload.byteLength} bytes cannot hold ${size}` };
  const target = Buffer.alloc(size);
  const problem = decodeLz4Block(payload.subarray(LZ4_SIZE_BYTES), target);
  return problem === undefined ? { payload: target } : { problem: `a block does not decompress: ${problem}` };
}

function inflateZstd(payload: Buffer, declared: number): Inflated {
  if (zstd === undefined) return {};
  if (declared > ZSTD_MAX_BYTES) return { problem: `a block declares ${declared} bytes` };
  try {
    const inflated = zstd(payload, { maxOutputLength: Math.max(declared, 1) });
    if (inflated.byteLength === declared) return { payload: inflated };
    return { problem: `a block declares ${declared} bytes and holds ${inflated.byteLength}` };
  } catch (error) {
    return { problem: `a block does not decompress: ${(error as Error).message}` };
  }
}
