import { createHash } from 'node:crypto';
import type { Body } from '../destination/destination.ts';
import type { FileSystem } from '../env/file-system.ts';
import { readFully } from '../env/io.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import type { Digest } from '../snapshot/tasks/digest-files.ts';
import { changed } from './digests.ts';

/** A file whose data is sent, and what that must be. */
export interface FileToSend {
  readonly path: string;
  readonly digest: Digest;
}

/** Small enough that hashing one does not hold up the event loop. */
const CHUNK_BYTES = 256 * 1024;

/**
 * The data of files, one behind the other. Each is hashed on the way, and where one is no longer what was proven (`COPY_DAMAGED`)
 * the body ends with an error before its last byte counts.
 */
export function bodyOfFiles(
  fs: FileSystem,
  files: readonly FileToSend[],
  onBytes: (count: number) => void,
): Body {
  return {
    sizeBytes: files.reduce((sum, { digest }) => sum + digest.dataBytes, 0),
    async *open() {
      for (const file of files) yield* dataOf(fs, file, onBytes);
    },
  };
}

async function* dataOf(
  fs: FileSystem,
  { path, digest }: FileToSend,
  onBytes: (count: number) => void,
): AsyncGenerator<Uint8Array> {
  const file = await fs.open(path, 'read').catch((error) => {
    throw unreadable(path, error);
  });
  try {
    const hash = createHash('sha256');
    for (const [offset, length] of digest.ranges ?? [[0, digest.dataBytes]]) {
      for (let done = 0; done < length; ) {
        const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, length - done));
        const count = await readFully(file, chunk, offset + done).catch((error) => {
          throw unreadable(path, error);
        });
        if (count < chunk.byteLength) throw changed(path);
        hash.update(chunk);
        yield chunk;
        onBytes(count);
        done += count;
      }
    }
    if (hash.digest('hex') !== digest.sha256) throw changed(path);
  } finally {
    await file.close();
  }
}

function unreadable(path: string, error: unknown): StillpointError {
  const { message } = toStillpointError(error);
  return new StillpointError('SOURCE_UNAVAILABLE', `${path} cannot be read: ${message}`, {
    path,
    cause: error,
  });
}
