import { createHash } from 'node:crypto';
import { withBuffer } from '../../env/buffers.ts';
import type { FileSystem, OpenFile } from '../../env/file-system.ts';
import { readFully, withFile } from '../../env/io.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { type Summed, Sums } from '../../format/sums.ts';

export interface DigestJob {
  readonly path: string;
  /** Whether CRC-32C is wanted, too. */
  readonly withCrc32c: boolean;
}

/** A stretch of data in a file: offset and length in bytes. */
export type DataRange = readonly [offset: number, length: number];

/** What a file holds: checksums of the whole, and the SHA-256 of its data without the holes. */
export interface Digest extends Summed {
  /** In hexadecimal, over the bytes of all `ranges`. */
  readonly sha256: string;
  readonly dataBytes: number;
  /** Where the data lies, in order; all else is zeros. Undefined where all of the file is data. */
  readonly ranges?: readonly DataRange[];
}

/** Blocks of zeros, aligned, and one at the end of the file, count as holes. */
const BLOCK_BYTES = 64 * 1024;
const ZEROS = Buffer.alloc(BLOCK_BYTES);

/** Reads each file once. */
export function digestFiles(fs: FileSystem, jobs: readonly DigestJob[], run: TaskRun): Promise<Digest[]> {
  return withBuffer(async (buffer) => {
    const digests: Digest[] = [];
    for (const { path, withCrc32c } of jobs) {
      digests.push(await withFile(fs, path, 'read', (file) => digestFile(file, withCrc32c, buffer, run)));
    }
    return digests;
  });
}

async function digestFile(
  file: OpenFile,
  withCrc32c: boolean,
  buffer: Buffer,
  run: TaskRun,
): Promise<Digest> {
  const sums = new Sums(withCrc32c);
  const hash = createHash('sha256');
  const ranges: [number, number][] = [];
  let dataBytes = 0;
  for (;;) {
    const position = sums.sizeBytes;
    const count = await readFully(file, buffer, position);
    for (let from = 0; from < count; from += BLOCK_BYTES) {
      const block = buffer.subarray(from, Math.min(from + BLOCK_BYTES, count));
      if (ZEROS.subarray(0, block.byteLength).equals(block)) {
        sums.addZeros(block.byteLength);
        continue;
      }
      const last = ranges.at(-1);
      if (last !== undefined && last[0] + last[1] === position + from) last[1] += block.byteLength;
      else ranges.push([position + from, block.byteLength]);
      dataBytes += block.byteLength;
      sums.add(block);
      hash.update(block);
    }
    run.addBytes(count);
    run.checkCancelled();
    if (count < buffer.byteLength) break;
  }
  const isDense = dataBytes === sums.sizeBytes;
  return { ...sums.result(), sha256: hash.digest('hex'), dataBytes, ...(!isDense && { ranges }) };
}
