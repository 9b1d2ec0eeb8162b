import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { brotliDecompress } from 'node:zlib';
import type { Body } from '../destination/destination.ts';
import { ByteStream } from '../env/byte-stream.ts';
import type { OpenFile } from '../env/file-system.ts';
import { readFully } from '../env/io.ts';
import type { RunControl } from '../env/run-control.ts';
import { warn } from '../env/safe-calls.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import { expandOptions, FRAME_BYTES, FRAME_HEADER_BYTES, FRAMES_MAGIC } from '../format/frames.ts';
import type { Environment } from '../snapshot/environment.ts';
import { partialFolder } from '../snapshot/store/layout.ts';
import type { Compressed } from '../snapshot/tasks/compress-files.ts';
import { changed } from './digests.ts';
import type { FileToSend } from './file-body.ts';

/** Objects whose content is stored compressed. `format/frames.ts` has the format. */

/** What is smaller is not worth a thread; what is larger would take too much room on the disk of the data. */
const LEAST_BYTES = 4096;
const MOST_BYTES = 256 * 1024 * 1024;

const SPOOL_CHUNK_BYTES = 256 * 1024;

/** A body in a temporary file, which goes when that is closed. */
export interface CompressedBody extends Body {
  close(): Promise<void>;
}

/**
 * The data of files, compressed, and expanded once to see that it is what was proven (else `COPY_DAMAGED`). It is kept in a file
 * without a name beside the snapshot, so that its size is known before it is sent and every attempt sends the same bytes. Undefined
 * where it would not become smaller, and where there is no room for that file: then it is stored as it is.
 * @param onBytes Called with bytes of the content, once what holds them was handed out.
 */
export async function compressedBody(
  env: Environment,
  snapshotFolder: string,
  files: readonly FileToSend[],
  control: RunControl,
  onBytes: (count: number) => void,
): Promise<CompressedBody | undefined> {
  const contentBytes = files.reduce((sum, { digest }) => sum + digest.dataBytes, 0);
  if (contentBytes < LEAST_BYTES || contentBytes > MOST_BYTES) return undefined;
  let file: OpenFile | undefined;
  try {
    file = await unnamedFile(env, dirname(snapshotFolder));
    const { fd, path } = file;
    const job = {
      files: files.map(({ path, digest: { ranges, dataBytes } }) => ({
        path,
        ranges: ranges ?? [[0, dataBytes]],
      })),
      target: { fd, path },
    } as const;
    const compressed = await env.pool.run('compressFiles', job, control, 4 * contentBytes);
    if (compressed !== null) {
      for (const [i, { path, digest }] of files.entries())
        if (compressed.contents[i] !== digest.sha256) throw changed(path);
      return bodyOf(file, compressed, contentBytes, onBytes);
    }
  } catch (error) {
    const { code } = toStillpointError(error);
    if (code === 'CANCELLED' || code === 'COPY_DAMAGED') {
      await file?.close();
      throw error;
    }
    // Stored as it is. If the files themselves cannot be read, that shows it.
    if (code !== 'NO_SPACE') warn(error);
  }
  await file?.close();
  return undefined;
}

/** A process that dies before it has taken the name away leaves a file that the next snapshot sweeps. */
async function unnamedFile({ fs, newId }: Environment, folder: string): Promise<OpenFile> {
  const path = partialFolder(folder, newId());
  const file = await fs.open(path, 'create');
  try {
    await fs.removeFile(path);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

function bodyOf(
  file: OpenFile,
  { bytes, sha256 }: Compressed,
  contentBytes: number,
  onBytes: (count: number) => void,
): CompressedBody {
  const contentAt = (position: number): number => Math.floor((position / bytes) * contentBytes);
  return {
    sizeBytes: bytes,
    async *open() {
      const hash = createHash('sha256');
      for (let position = 0; position < bytes; ) {
        const chunk = Buffer.allocUnsafe(Math.min(SPOOL_CHUNK_BYTES, bytes - position));
        const count = await readFully(file, chunk, position);
        hash.update(chunk);
        position += count;
        // The last chunk is handed out only if all of them are what was written.
        const isOver = position === bytes || count < chunk.byteLength;
        if (isOver && hash.digest('hex') !== sha256) throw changed(file.path);
        yield chunk;
        onBytes(contentAt(position) - contentAt(position - count));
      }
    },
    close: () => file.close(),
  };
}

const expand = promisify<Uint8Array, ReturnType<typeof expandOptions>, Buffer>(brotliDecompress);

/**
 * The content of a compressed object, frame by frame. `BACKUP_DAMAGED` with the key as its path where the bytes are no such object,
 * or hold more or less than they should.
 */
export async function* expanded(
  key: string,
  contentBytes: number,
  stored: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const damaged = (what: string, cause?: unknown) =>
    new StillpointError('BACKUP_DAMAGED', `${key} ${what}`, { path: key, cause });
  const stream = new ByteStream(stored);
  try {
    if (!FRAMES_MAGIC.equals(await stream.take(FRAMES_MAGIC.byteLength)))
      throw damaged('is not compressed, and should be');
    for (let position = 0; position < contentBytes; position += FRAME_BYTES) {
      const wanted = Math.min(FRAME_BYTES, contentBytes - position);
      const cutOff = () => damaged(`ends in its frame at ${position}: it was cut off`);
      const header = await stream.take(FRAME_HEADER_BYTES);
      if (header.byteLength < FRAME_HEADER_BYTES) throw cutOff();
      const length = header.readUInt32BE();
      if (length === 0 || length > wanted) throw damaged(`has a frame of ${length} bytes at ${position}`);
      const block = await stream.take(length);
      if (block.byteLength < length) throw cutOff();
      if (length === wanted) {
        yield block;
        continue;
      }
      const content = await expand(block, expandOptions(wanted)).catch((error) => {
        throw damaged(`does not expand at ${position}`, error);
      });
      if (content.byteLength !== wanted) throw damaged(`holds too little at ${position}`);
      yield content;
    }
    if ((await stream.next(1)) !== undefined) throw damaged('goes on behind its end');
  } finally {
    await stream.close();
  }
}
