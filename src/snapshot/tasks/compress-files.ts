import { createHash, type Hash } from 'node:crypto';
import { withBuffer } from '../../env/buffers.ts';
import type { FileSystem, OpenFile } from '../../env/file-system.ts';
import { readFully, withFile, writeFully } from '../../env/io.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { compressBlock, encodeFrame, FRAME_BYTES, FRAMES_MAGIC } from '../../format/frames.ts';
import type { DataRange } from './digest-files.ts';

export interface CompressJob {
  /** Their data, one behind the other, is what is compressed. */
  readonly files: readonly { readonly path: string; readonly ranges: readonly DataRange[] }[];
  /** An open file, empty. */
  readonly target: Pick<OpenFile, 'fd' | 'path'>;
}

export interface Compressed {
  readonly bytes: number;
  /** Of what was written, in hexadecimal. */
  readonly sha256: string;
  /** Of the data of each file, as it is when it is expanded again. */
  readonly contents: readonly string[];
}

/** A sample of each megabyte, but not of more than so many. */
const SAMPLES = 16;
const SAMPLE_BYTES = 64 * 1024;
/** Samples that shrink less are not worth the time that reading takes later. */
const WORTH = 0.9;

/**
 * Compresses the data of files into `target`, and expands it again to see that it is the same. Resolves to null where it would not
 * become smaller; what `target` holds then has no meaning.
 */
export async function compressFiles(
  fs: FileSystem,
  { files, target }: CompressJob,
  run: TaskRun,
): Promise<Compressed | null> {
  if (!(await isWorthIt(fs, files))) return null;
  const out = new Writer(fs.adopt(target.fd, target.path));
  await out.write(FRAMES_MAGIC);
  const contents = new Contents(files.map(({ ranges }) => sizeOf(ranges)));
  const sizeBytes = await withBuffer(async (buffer) => {
    let [filled, total] = [0, 0];
    const flush = async () => {
      const { frame, content } = encodeFrame(buffer.subarray(0, filled));
      contents.add(content);
      for (const piece of frame) await out.write(piece);
      total += filled;
      filled = 0;
      run.checkCancelled();
    };
    for (const { path, ranges } of files) {
      await withFile(fs, path, 'read', async (file) => {
        for (const [offset, length] of ranges) {
          for (let done = 0; done < length; ) {
            const wanted = Math.min(FRAME_BYTES - filled, length - done);
            const count = await readFully(file, buffer.subarray(filled, filled + wanted), offset + done);
            filled += count;
            done += count;
            if (filled === FRAME_BYTES) await flush();
            if (count < wanted) return; // it has become shorter: its digest will show it
          }
        }
      });
    }
    if (filled > 0) await flush();
    return total;
  });
  if (out.position >= sizeBytes) return null;
  return { bytes: out.position, sha256: out.hash.digest('hex'), contents: contents.digests() };
}

const sizeOf = (ranges: readonly DataRange[]): number => ranges.reduce((sum, [, length]) => sum + length, 0);

async function isWorthIt(fs: FileSystem, files: CompressJob['files']): Promise<boolean> {
  const places = files.flatMap(({ path, ranges }) =>
    ranges.flatMap(([offset, length]) =>
      Array.from({ length: Math.ceil(length / FRAME_BYTES) }, (_, i) => ({
        path,
        offset: offset + i * FRAME_BYTES,
        bytes: Math.min(SAMPLE_BYTES, length - i * FRAME_BYTES),
      })),
    ),
  );
  const step = Math.ceil(places.length / SAMPLES);
  const sample = Buffer.allocUnsafe(SAMPLE_BYTES);
  let [before, after] = [0, 0];
  for (let i = 0; i < places.length; i += step) {
    const { path, offset, bytes } = places[i]!;
    const wanted = sample.subarray(0, bytes);
    const count = await withFile(fs, path, 'read', (file) => readFully(file, wanted, offset));
    before += count;
    after += Math.min(count, compressBlock(wanted.subarray(0, count)).byteLength);
  }
  return after < WORTH * before;
}

/** Writes in order, and hashes what it writes. */
class Writer {
  readonly hash = createHash('sha256');
  readonly #file: OpenFile;
  position = 0;

  constructor(file: OpenFile) {
    this.#file = file;
  }

  async write(bytes: Uint8Array): Promise<void> {
    await writeFully(this.#file, bytes, this.position);
    this.hash.update(bytes);
    this.position += bytes.byteLength;
  }
}

/** Hashes the contents of files that go by one behind the other. */
class Contents {
  readonly #files: { readonly hash: Hash; left: number }[];
  #at = 0;

  constructor(sizes: readonly number[]) {
    this.#files = sizes.map((left) => ({ hash: createHash('sha256'), left }));
  }

  add(content: Uint8Array): void {
    for (let from = 0; from < content.byteLength; ) {
      const file = this.#files[this.#at]!;
      const part = content.subarray(from, from + file.left);
      file.hash.update(part);
      file.left -= part.byteLength;
      from += part.byteLength;
      if (file.left === 0) this.#at++;
    }
  }

  digests(): string[] {
    return this.#files.map(({ hash }) => hash.digest('hex'));
  }
}
