import { withBuffer } from '../../env/buffers.ts';
import type { FileSystem, OpenFile } from '../../env/file-system.ts';
import { readFully, withFile } from '../../env/io.ts';
import type { TaskRun } from '../../env/run-control.ts';
import type { CopyJob } from './copy-files.ts';

export interface FilePair {
  readonly source: CopyJob['source'];
  readonly copy: string;
}

/**
 * For each pair, whether both files have the same bytes. Reads up to the first difference. A file that cannot be read counts as
 * different: copying it then reports the error.
 */
export function compareFiles(fs: FileSystem, pairs: readonly FilePair[], run: TaskRun): Promise<boolean[]> {
  return withBuffer((a) =>
    withBuffer(async (b) => {
      const results: boolean[] = [];
      for (const { source, copy } of pairs) {
        const compareWith = (one: OpenFile) =>
          withFile(fs, copy, 'read', (other) => isSameFile([one, a], [other, b], run));
        const isSame =
          source.fd === undefined
            ? withFile(fs, source.path, 'read', compareWith)
            : compareWith(fs.adopt(source.fd, source.path));
        results.push(await isSame.catch(() => false));
        run.checkCancelled();
      }
      return results;
    }),
  );
}

async function isSameFile(
  [one, a]: [OpenFile, Buffer],
  [other, b]: [OpenFile, Buffer],
  run: TaskRun,
): Promise<boolean> {
  for (let at = 0; ; at += a.length) {
    run.checkCancelled();
    const [countA, countB] = [await readFully(one, a, at), await readFully(other, b, at)];
    if (!a.subarray(0, countA).equals(b.subarray(0, countB))) return false;
    run.addBytes(countA);
    if (countA < a.length) return true;
  }
}
