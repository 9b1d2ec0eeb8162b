import { createHash, type Hash } from 'node:crypto';
import type { FileSystem } from '../../env/file-system.ts';
import { listRegularFiles } from '../../env/folder-tree.ts';
import { readFully, withFile } from '../../env/io.ts';
import { placeOf } from '../../snapshot/store/layout.ts';

const CHUNK_BYTES = 256 * 1024;

/**
 * SHA-256 of a folder, in hexadecimal: for each regular file, in the order of the paths' components (`a/b` before `a.b`), over the
 * path, a zero byte, the hexadecimal SHA-256 of the file and a line feed. Empty folders do not count. A link or special file is
 * `UNSUPPORTED_FILE`. An aborted signal rejects with its reason.
 */
export async function folderDigest(fs: FileSystem, root: string, signal?: AbortSignal): Promise<string> {
  const whole = createHash('sha256');
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  for (const path of (await listRegularFiles(fs, root)).sort(compareByComponent)) {
    const file = createHash('sha256');
    await hashFile(fs, placeOf(root, path), file, buffer, signal);
    whole.update(path).update('\0').update(file.digest('hex')).update('\n');
  }
  return whole.digest('hex');
}

async function hashFile(
  fs: FileSystem,
  path: string,
  hash: Hash,
  buffer: Buffer,
  signal?: AbortSignal,
): Promise<void> {
  await withFile(fs, path, 'read', async (file) => {
    for (let at = 0; ; ) {
      signal?.throwIfAborted();
      const count = await readFully(file, buffer, at);
      hash.update(buffer.subarray(0, count));
      if (count < buffer.byteLength) return;
      at += count;
    }
  });
}

/** Component by component, each by its bytes. */
export function compareByComponent(a: string, b: string): number {
  const [left, right] = [a.split('/'), b.split('/')];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const order = Buffer.compare(Buffer.from(left[i]!), Buffer.from(right[i]!));
    if (order !== 0) return order;
  }
  return left.length - right.length;
}
