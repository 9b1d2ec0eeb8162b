import { join } from 'node:path';
import { Kysely } from 'kysely';
import { makeFolders, removeIfPresent, withFile } from '../../env/io.ts';
import { acquireWithin, type HeldLock } from '../../env/lock.ts';
import { StillpointError } from '../../errors.ts';
import type { Environment } from '../../snapshot/environment.ts';
import { jobsFile, type Layout } from '../../snapshot/store/layout.ts';
import { bringFormerJobs } from './former-jobs.ts';
import type { JobStore } from './job-store.ts';
import { type JobScope, KyselyJobStore, type Owners, type Tables } from './kysely-job-store.ts';
import { migrate } from './migrations.ts';
import { sqliteDialect } from './sqlite-dialect.ts';

/** How long to wait while another process brings the tables up to date. */
const MIGRATION_WAIT_MS = 30_000;

const ONE_DIRECTORY: JobScope = { guard: 'exclusive', storeId: undefined };

const ownersFolder = (layout: Layout): string => join(layout.lifecycle, 'jobs');

/**
 * The job store of one data directory, in `.lifecycle/jobs.sqlite`. Whether the process of a job lives is told by the kernel's
 * lock on a file in `.lifecycle/jobs`, which dies with it, and not by any clock.
 */
export const openSqliteJobStore = (env: Environment, layout: Layout): Promise<JobStore> =>
  openIn(env, layout, (db) => bringFormerJobs(env, db, layout, (former) => openIn(env, former)));

async function openIn(
  env: Environment,
  layout: Layout,
  complete: (db: Kysely<Tables>) => Promise<void> = async () => {},
): Promise<JobStore> {
  const folder = ownersFolder(layout);
  await makeFolders(env.fs, folder);
  const file = jobsFile(layout);
  // SQLite would make it readable to others, and follow a link that stands there. One that stands must not be opened here: to close it
  // again would release the locks that SQLite has on it in this process.
  const standing = await env.fs.inspect(file);
  if (standing?.kind !== 'file') await withFile(env.fs, file, 'open-or-create', async () => {});
  await env.fs.syncFolder(layout.lifecycle);
  const db = new Kysely<Tables>({ dialect: sqliteDialect(await env.openSqlite(file)) });
  try {
    const path = join(folder, 'migration');
    const lock = await acquireWithin(env, path, MIGRATION_WAIT_MS);
    if (lock === undefined) throw new StillpointError('CONFLICT', `another process holds ${path}`, { path });
    try {
      await migrate(db);
      await complete(db);
    } finally {
      await lock.release();
    }
    return new KyselyJobStore(db, lockedOwners(env, folder), env.clock, ONE_DIRECTORY);
  } catch (error) {
    await db.destroy();
    throw error;
  }
}

function lockedOwners({ fs, locks }: Environment, folder: string): Owners {
  const held = new Map<string, HeldLock>();
  const pathOf = (jobId: string): string => join(folder, jobId);
  const release = async (jobId: string): Promise<void> => {
    const lock = held.get(jobId);
    held.delete(jobId);
    // The lock counts, and not the file: it is given back also where the file cannot be removed.
    await removeIfPresent(fs, pathOf(jobId)).finally(() => lock?.release());
  };
  return {
    release,
    async releaseAll() {
      const results = await Promise.allSettled([...held.keys()].map(release));
      for (const result of results) if (result.status === 'rejected') throw result.reason;
    },
    async claim(jobId) {
      const lock = await locks.tryAcquire(fs, pathOf(jobId), 'exclusive');
      if (lock === undefined) throw new StillpointError('CONFLICT', `job ${jobId} has another owner`);
      held.set(jobId, lock);
    },
    async isDead(jobId) {
      if (held.has(jobId)) return false;
      if ((await fs.inspect(pathOf(jobId))) === undefined) return true;
      const lock = await locks.tryAcquire(fs, pathOf(jobId), 'exclusive');
      if (lock === undefined) return false;
      await removeIfPresent(fs, pathOf(jobId));
      await lock.release();
      return true;
    },
  };
}
