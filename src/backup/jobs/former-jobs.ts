import { dirname } from 'node:path';
import { type Kysely, sql } from 'kysely';
import { warn } from '../../env/safe-calls.ts';
import type { Environment } from '../../snapshot/environment.ts';
import { readFormerHomes, writeFormerHomes } from '../../snapshot/store/former-homes.ts';
import { jobsFile, type Layout, layoutOf } from '../../snapshot/store/layout.ts';
import type { JobStore } from './job-store.ts';
import type { Tables } from './kysely-job-store.ts';

/**
 * Brings the rows of job stores that this database had in other folders before, which stay as they are. A folder that is not there now, or
 * where a job is still under way, is looked at again at the next opening. What is known here already counts.
 *
 * @param open Opens the job store of a folder, brings its tables up to date, and leaves its own former folders alone.
 */
export async function bringFormerJobs(
  { fs }: Environment,
  db: Kysely<Tables>,
  layout: Layout,
  open: (layout: Layout) => Promise<JobStore>,
): Promise<void> {
  const folders = (await readFormerHomes(fs, layout).catch(warn)) ?? []; // the jobs of today do without
  const left: string[] = [];
  for (const folder of folders) {
    const former = layoutOf(dirname(folder));
    const isThere = (await fs.inspect(jobsFile(former))) !== undefined;
    const isDone = isThere && (await bring(db, former, open).catch(warn));
    if (!isDone) left.push(folder);
  }
  if (left.length < folders.length) await writeFormerHomes(fs, layout, left);
}

/** Whether nothing is left there. */
async function bring(
  db: Kysely<Tables>,
  former: Layout,
  open: (layout: Layout) => Promise<JobStore>,
): Promise<boolean> {
  const store = await open(former);
  await store.listJobs().finally(() => store.close()); // those whose process died end by that
  await sql`ATTACH DATABASE ${jobsFile(former)} AS former`.execute(db);
  try {
    const isOver = sql`status NOT IN ('pending', 'running')`;
    await sql`INSERT OR IGNORE INTO jobs SELECT * FROM former.jobs WHERE ${isOver}`.execute(db);
    await sql`INSERT OR IGNORE INTO records SELECT * FROM former.records`.execute(db);
    await sql`INSERT OR IGNORE INTO ticks SELECT * FROM former.ticks`.execute(db);
    const open = await sql`SELECT id FROM former.jobs WHERE NOT (${isOver})`.execute(db);
    return open.rows.length === 0;
  } finally {
    await sql`DETACH DATABASE former`.execute(db);
  }
}
