import type { ImageItem } from '../engine/engine.ts';
import type { RunControl } from '../env/worker-pool.ts';
import { compareInBatches } from './compare.ts';
import type { Environment } from './environment.ts';
import { placeOf } from './layout.ts';
import { isWhole } from './plan.ts';
import type { ProvenFile, ReusableSnapshot } from './proofs.ts';

/** Whether the previous snapshot's file stands as it was proven. */
export async function isLent(
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
    if (proven?.size !== item.sizeBytes || !(await isLent(env, previous, item.path, proven))) continue;
    const source = await env.fs.inspect(placeOf(dir, item.path));
    if (source?.ino.toString() !== proven.ino) candidates.push(item); // else it is the database's own
  }
  return compareInBatches(env, dir, previous.folder, candidates, control);
}
