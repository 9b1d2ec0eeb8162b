import type { ImageItem } from '../../engine/engine.ts';
import { inBatches, mapConcurrent } from '../../env/concurrency.ts';
import type { RunControl } from '../../env/worker-pool.ts';
import type { Environment } from '../environment.ts';
import { placeOf } from '../store/layout.ts';
import type { ProvenFile, ReusableSnapshot } from '../store/ledger.ts';
import { costBytesOf, type SizedPath } from '../verify/check-files.ts';
import { isWhole } from './check-plan.ts';

/** Whether the previous snapshot's file stands as it was proven. */
export async function isUnchangedSinceProof(
  { fs }: Environment,
  { folder }: ReusableSnapshot,
  path: string,
  { size, ino, mtimeNs }: ProvenFile,
): Promise<boolean> {
  const stat = await fs.inspect(placeOf(folder, path));
  if (stat?.kind !== 'file' || stat.sizeBytes !== size) return false;
  return stat.ino.toString() === ino && stat.mtimeNs.toString() === mtimeNs;
}

/** Those of the images that the previous snapshot has byte for byte: neither a time nor a checksum is trusted for that. */
export async function findEqual(
  env: Environment,
  dir: string,
  previous: ReusableSnapshot,
  images: readonly ImageItem[],
  control: RunControl,
): Promise<ReadonlySet<string>> {
  const candidates: ImageItem[] = [];
  for (const item of images) {
    control.checkCancelled();
    const proven = isWhole(item) ? previous.files.get(item.path) : undefined;
    if (proven?.size !== item.sizeBytes || !(await isUnchangedSinceProof(env, previous, item.path, proven)))
      continue;
    const source = await env.fs.inspect(placeOf(dir, item.path));
    if (source?.ino.toString() !== proven.ino) candidates.push(item); // else it is the database's own
  }
  return compareInBatches(env, dir, previous.folder, candidates, control);
}

/** Those of the files that have the same bytes in both folders; worker threads read them. */
async function compareInBatches(
  { pool }: Environment,
  left: string,
  right: string,
  files: readonly SizedPath[],
  control: RunControl,
): Promise<ReadonlySet<string>> {
  const same = new Set<string>();
  const batches = inBatches(files, ({ sizeBytes }) => sizeBytes);
  await mapConcurrent(batches, pool.concurrency, async (batch) => {
    const paths = batch.map(({ path }) => path);
    const costBytes = 2 * costBytesOf(batch);
    const results = await pool.run('compareFiles', { left, right, paths }, control, costBytes);
    for (const [i, path] of paths.entries()) if (results[i]) same.add(path);
  });
  return same;
}
