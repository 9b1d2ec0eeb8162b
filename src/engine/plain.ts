import type { OpenFile } from '../env/file-system.ts';
import { readFully } from '../env/io.ts';
import type { TaskRun } from '../env/worker-pool.ts';
import { crc32 } from '../format/crc32.ts';
import type { FileCheck } from './engine.ts';

const BUFFER_BYTES = 1024 * 1024;

/** Size and CRC-32 of a file whose content nobody knows. */
export async function checkPlainFile(file: OpenFile, run: TaskRun): Promise<FileCheck> {
  const buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  let sizeBytes = 0;
  let checksum = 0;
  for (;;) {
    run.checkCancelled();
    const count = await readFully(file, buffer, sizeBytes);
    checksum = crc32(buffer.subarray(0, count), checksum);
    sizeBytes += count;
    run.addBytes(count);
    if (count < buffer.byteLength) break;
  }
  return { sizeBytes, crc32: checksum, findings: [], counts: {} };
}
