import { warn } from '../env/safe-calls.ts';
import { newUlid } from '../env/ulid.ts';
import { toStillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import type { Layout } from '../snapshot/store/layout.ts';
import { ensureStoreFile, readStoreFile, type StoreFile } from '../snapshot/store/store-identity.ts';
import { openJobs } from './jobs/open-jobs.ts';

/**
 * Puts an attempt on record that failed before its repository was open: its disk is not mounted, the server does not answer. A
 * directory without a lifecycle folder stays as it is: its path may be mistyped. Never rejects.
 */
export async function recordFailedStart(
  env: Environment,
  layout: Layout,
  error: unknown,
  repositoryUrl: string | undefined,
  jobsChoice: string | undefined,
): Promise<void> {
  try {
    const identity = await identityOf(env, layout);
    if (identity === undefined) return;
    const jobs = await openJobs(env, layout, jobsChoice);
    try {
      const { code, message, hint } = toStillpointError(error);
      const nowMs = env.clock.nowMs();
      const id = newUlid(nowMs);
      await jobs.createBackupJob({
        id,
        kind: 'backup',
        storeId: identity.store_id,
        repositoryId: null,
        repositoryUrl: repositoryUrl ?? null,
        backupId: null,
        backupRecordId: null,
        status: 'running',
        startedAtMs: nowMs,
        finishedAtMs: null,
        progress: 0,
        error: null,
        errorCode: null,
        errorHint: null,
      });
      await jobs.updateBackupJob(id, {
        status: 'failed',
        finishedAtMs: nowMs,
        error: message,
        errorCode: code,
        errorHint: hint,
      });
    } finally {
      await jobs.close();
    }
  } catch (problem) {
    warn(problem); // the caller reports the error itself
  }
}

async function identityOf(env: Environment, layout: Layout): Promise<StoreFile | undefined> {
  const isKnown = (await env.fs.inspect(layout.lifecycle))?.kind === 'folder';
  return isKnown ? ensureStoreFile(env, layout) : readStoreFile(env.fs, layout);
}
