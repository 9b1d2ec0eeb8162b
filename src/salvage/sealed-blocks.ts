import { crc32cInScript, maskCrc } from '../format/crc32c.ts';
import { CRC_BYTES, TRAILER_BYTES } from '../format/leveldb/table.ts';

/** Compressions that a trailer may name. A CRC is compared only behind one of these bytes. */
const MOST_COMPRESSION = 4;
/** No block of the usual size is longer; a longer one holds one large entry. */
const LONGEST_BYTES = 64 * 1024 * 1024;

export interface SealedBlock {
  readonly offset: number;
  /** With the trailer. */
  readonly length: number;
}

// What a byte makes of the register, from the checksums of single bytes.
const TABLE = Int32Array.from(
  { length: 256 },
  (_, byte) => ~crc32cInScript(Uint8Array.of(byte ^ 0xff)) ^ 0x00ff_ffff,
);

/**
 * The blocks that stand back to back from the first byte on, each found by the place where its checksum is the one that is stored. A place
 * where that is so by chance comes once in 2^32. `end`: behind the last of them.
 */
export function findSealedBlocks(bytes: Buffer): { blocks: SealedBlock[]; end: number } {
  const blocks: SealedBlock[] = [];
  let from = 0;
  for (;;) {
    const length = sealedLength(bytes, from);
    if (length === undefined) return { blocks, end: from };
    blocks.push({ offset: from, length });
    from += length;
  }
}

function sealedLength(bytes: Buffer, from: number): number | undefined {
  const last = Math.min(bytes.length - CRC_BYTES, from + LONGEST_BYTES);
  let register = -1;
  for (let at = from; at < last; at++) {
    const byte = bytes[at]!;
    register = TABLE[(register ^ byte) & 0xff]! ^ (register >>> 8);
    if (byte > MOST_COMPRESSION || at - from < TRAILER_BYTES) continue;
    if (bytes.readUInt32LE(at + 1) === maskCrc(~register >>> 0)) return at + 1 + CRC_BYTES - from;
  }
  return undefined;
}
