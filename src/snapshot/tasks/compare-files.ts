import { withBuffer } from '../../env/buffers.ts';
import type { FileSystem, OpenFile } from '../../env/file-system.ts';
import { readFully, withFile } from '../../env/io.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { placeOf } from '../store/layout.ts';

export interface CompareArgs {
  readonly left: string;
  readonly right: string;
  /** Relative to both folders. */
  readonly paths: readonly string[];
}

/**
 * For each path, whether the two folders have the same bytes there. Reads up to the first difference. A file that cannot be read
 * counts as different: copying it then reports the error.
 */
export function compareFiles(
  fs: FileSystem,
  { left, right, paths }: CompareArgs,
  run: TaskRun,
): Promise<boolean[]> {
  return withBuffer((a) =>
    withBuffer(async (b) => {
      const results: boolean[] = [];
      for (const path of paths) {
        const isSame = withFile(fs, placeOf(left, path), 'read', (one) =>
          withFile(fs, placeOf(right, path), 'read', (other) => isSameFile([one, a], [other, b], run)),
        );
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
