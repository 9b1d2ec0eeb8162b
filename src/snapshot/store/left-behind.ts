import { join } from 'node:path';
import * as z from 'zod';
import { readJson, writeJson } from '../../env/durable-json.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { StillpointError } from '../../errors.ts';
import { type Layout, LEFT_BEHIND, newestName } from './layout.ts';
import { snapshotNames } from './list.ts';

/**
 * `backup/left-behind.json`: snapshots whose database went back, or was begun anew, after them. They may hold writes that no later one
 * has, however far the database comes, and also once the first snapshot after the setback is gone.
 */

const LIMIT_BYTES = 4 * 1024 * 1024;
const schema = z.object({ snapshots: z.array(z.string()) });

const fileOf = (layout: Layout): string => join(layout.backup, LEFT_BEHIND);

export async function leftBehind(fs: FileSystem, layout: Layout): Promise<ReadonlySet<string>> {
  const path = fileOf(layout);
  const read = await readJson(fs, path, {
    schema,
    limitBytes: LIMIT_BYTES,
    refuse: (why, cause) =>
      new StillpointError('STORE_INVALID', `${path}: ${why}`, {
        path,
        cause,
        hint: 'It says which snapshots must stay, since the database went back after them. Look at `stillpoint list DIR`, then remove it.',
      }),
  });
  return new Set(read?.snapshots);
}

/**
 * Durable before the snapshot that went back is published. Where none of `names` is there any more, the newest that is. The caller holds
 * the lifecycle lock.
 */
export async function noteLeftBehind(
  fs: FileSystem,
  layout: Layout,
  names: readonly string[],
): Promise<void> {
  const known = await leftBehind(fs, layout);
  const all = await snapshotNames(fs, layout.backup);
  const present = new Set(all);
  const meant = [names.find((name) => present.has(name)) ?? newestName(all)].filter(
    (one) => one !== undefined,
  );
  if (meant.every((name) => known.has(name))) return;
  const snapshots = [...known, ...meant].filter((one) => present.has(one));
  await writeJson(fs, fileOf(layout), { snapshots }, 'lines');
}
