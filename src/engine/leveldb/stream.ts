import type { OpenFile } from '../../env/file-system.ts';
import { readFully } from '../../env/io.ts';
import type { TaskRun } from '../../env/worker-pool.ts';
import { crc32 } from '../../format/crc32.ts';
import { BLOCK_BYTES } from '../../format/leveldb/log.ts';

const BUFFER_BYTES = 1024 * 1024;

/**
 * Reads a file once, from begin to end, for its CRC-32 and for `take`, which gets each piece in order; a piece is
 * overwritten by the next one.
 */
export async function streamFile(
  file: OpenFile,
  run: TaskRun,
  take: (piece: Buffer) => void,
): Promise<{ sizeBytes: number; crc32: number }> {
  // Most files are small and there are many. A multiple of the log's block, so that blocks are decoded where they were read.
  const blocks = Math.floor((await file.stat()).sizeBytes / BLOCK_BYTES) + 1;
  const buffer = Buffer.allocUnsafe(Math.min(BUFFER_BYTES, blocks * BLOCK_BYTES));
  let sizeBytes = 0;
  let checksum = 0;
  for (;;) {
    run.checkCancelled();
    const piece = buffer.subarray(0, await readFully(file, buffer, sizeBytes));
    checksum = crc32(piece, checksum);
    take(piece);
    sizeBytes += piece.length;
    run.addBytes(piece.length);
    if (piece.length < buffer.length) return { sizeBytes, crc32: checksum };
  }
}
