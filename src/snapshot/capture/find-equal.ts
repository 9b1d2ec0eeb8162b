import { inBatches, mapConcurrent, type Semaphore } from '../../env/concurrency.ts';
import type { RunControl } from '../../env/run-control.ts';
import type { Environment } from '../environment.ts';
import type { FilePair } from '../tasks/compare-files.ts';
import { costBytesOf, type SizedPath } from '../verify/check-files.ts';

/** A file of the source beside a copy of it. */
export type SourceAndCopy = SizedPath & FilePair;

/** The paths of those that are the same byte for byte. Worker threads read both files of each pair, up to the first difference. */
export async function findEqual(
  { pool }: Environment,
  control: RunControl,
  workers: Semaphore,
  pairs: readonly SourceAndCopy[],
): Promise<ReadonlySet<string>> {
  const equal = new Set<string>();
  const batches = inBatches(pairs, ({ sizeBytes }) => sizeBytes);
  await mapConcurrent(batches, pool.concurrency, async (batch) => {
    const bare = batch.map(({ source, copy }): FilePair => ({ source, copy }));
    const results = await workers.run(() => pool.run('compareFiles', bare, control, 2 * costBytesOf(batch)));
    for (const [i, { path }] of batch.entries()) if (results[i]) equal.add(path);
  });
  return equal;
}
