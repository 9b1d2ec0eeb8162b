import { join } from 'node:path';
import { makeFolders } from '../env/io.ts';
import { foldersOf } from '../env/tree.ts';
import type { RunControl } from '../env/worker-pool.ts';
import { StillpointError } from '../errors.ts';
import type { CopyJob } from './copy.ts';
import type { Environment } from './environment.ts';
import { inBatches, inLanes } from './lanes.ts';
import { placeOf } from './layout.ts';
import type { ManifestEntry } from './manifest.ts';

/**
 * Copies the files of a snapshot into a new folder, durably, and holds what was read against the manifest on the way.
 * Never links: the engine that opens the copy may write into its files. Rejects with `RESTORE_INTEGRITY_MISMATCH` at the
 * first file that differs.
 */
export async function cloneSnapshot(
  env: Environment,
  from: string,
  into: string,
  entries: readonly ManifestEntry[],
  control: RunControl,
): Promise<void> {
  const { fs, pool } = env;
  await makeFolders(fs, into);
  const folders = foldersOf(entries.map(({ path }) => path));
  for (const folder of folders) await fs.makeFolder(placeOf(into, folder));
  await inLanes(
    inBatches(entries, ({ size }) => size),
    pool.concurrency,
    async (batch) => {
      const jobs = batch.map(
        ({ path }): CopyJob => ({ source: { path: placeOf(from, path) }, target: placeOf(into, path) }),
      );
      const results = await pool.run('copyFiles', jobs, control);
      for (const [i, { sizeBytes, crc32, crc32c }] of results.entries()) {
        const { path, ...entry } = batch[i]!;
        if (sizeBytes === entry.size && crc32 === entry.crc32 && crc32c === (entry.crc32c ?? crc32c))
          continue;
        const place = join(from, path);
        throw new StillpointError('RESTORE_INTEGRITY_MISMATCH', `${place} is not what its manifest says`, {
          path: place,
        });
      }
    },
  );
  for (const folder of folders.reverse()) await fs.syncFolder(placeOf(into, folder));
  await fs.syncFolder(into);
}
