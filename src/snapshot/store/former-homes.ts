import { join } from 'node:path';
import * as z from 'zod';
import { readJson, writeJson } from '../../env/durable-json.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { removeIfPresent } from '../../env/io.ts';
import { StillpointError } from '../../errors.ts';
import { jobsFile, type Layout } from './layout.ts';

/** `.lifecycle/jobs-from.json`: lifecycle folders where jobs of this database were kept before. The job store brings their rows here. */

const LIMIT_BYTES = 64 * 1024;
const schema = z.object({ folders: z.array(z.string().min(1)) });

const noteOf = ({ lifecycle }: Layout): string => join(lifecycle, 'jobs-from.json');

export async function readFormerHomes(fs: FileSystem, layout: Layout): Promise<readonly string[]> {
  const path = noteOf(layout);
  const note = await readJson(fs, path, {
    schema,
    limitBytes: LIMIT_BYTES,
    refuse: (why, cause) => new StillpointError('IO_ERROR', `${path}: ${why}`, { path, cause }),
  });
  return note?.folders ?? [];
}

export async function writeFormerHomes(
  fs: FileSystem,
  layout: Layout,
  folders: readonly string[],
): Promise<void> {
  if (folders.length > 0) await writeJson(fs, noteOf(layout), { folders }, 'compact');
  else await removeIfPresent(fs, noteOf(layout));
}

/** The jobs are kept in `to` from now on: those of `from` are to follow, and those that were to follow there. */
export async function noteFormerHome(fs: FileSystem, from: Layout, to: Layout): Promise<void> {
  const known = await readFormerHomes(fs, to);
  const own = (await fs.inspect(jobsFile(from))) === undefined ? [] : [from.lifecycle];
  const all = new Set([...known, ...own, ...(await readFormerHomes(fs, from))]);
  all.delete(to.lifecycle);
  if (all.size > known.length) await writeFormerHomes(fs, to, [...all]);
}
