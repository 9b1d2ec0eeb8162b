import { join } from 'node:path';
import * as z from 'zod/mini';
import { isSecretName, readSecret } from '../../env/secrets.ts';
import { StillpointError } from '../../errors.ts';
import { optional } from '../../options/option.ts';
import type { Environment } from '../../snapshot/environment.ts';
import { readFormerHomes } from '../../snapshot/store/former-homes.ts';
import type { Layout } from '../../snapshot/store/layout.ts';
import { readStoreFile } from '../../snapshot/store/store-identity.ts';
import type { JobStore } from './job-store.ts';

/** Where jobs and records are kept. */
export const jobsOption = () =>
  optional(
    z
      .string('must be `env:NAME` or `file:/path` with the address of a PostgreSQL database')
      .check(
        z.refine(
          isSecretName,
          'must be `env:NAME` or `file:/path`: an address with a password is named, not given',
        ),
      ),
    {
      description:
        'Keeps jobs and records in PostgreSQL: `env:NAME` or `file:/path` that holds `postgres://user:password@host/database`.',
      without: 'in `.lifecycle/jobs.sqlite` of the data directory',
      flag: { value: 'name' },
    },
  );

/** Whether jobs were ever kept in files of this data directory, here or where its snapshots were before. Makes none. */
export const hasJobs = async ({ fs }: Environment, layout: Layout): Promise<boolean> =>
  (await fs.inspect(join(layout.lifecycle, 'jobs'))) !== undefined ||
  (await readFormerHomes(fs, layout).catch(() => [])).length > 0;

/** The job store of a data directory; `INVALID_REQUEST` for PostgreSQL and a directory without identity, `JOBS_UNAVAILABLE`. */
export async function openJobs(
  env: Environment,
  layout: Layout,
  jobs: string | undefined,
): Promise<JobStore> {
  if (jobs === undefined) {
    const { openSqliteJobStore } = await import('./sqlite-job-store.ts');
    return openSqliteJobStore(env, layout);
  }
  const url = await readSecret(env.fs, jobs).catch((error) => {
    throw new StillpointError('JOBS_UNAVAILABLE', (error as Error).message, { cause: error });
  });
  if (!/^postgres(ql)?:\/\//.test(url)) {
    throw new StillpointError(
      'INVALID_REQUEST',
      `${jobs} does not hold the address of a PostgreSQL database`,
      {
        hint: 'It is as postgres://user:password@host:port/database.',
      },
    );
  }
  const identity = await readStoreFile(env.fs, layout);
  if (identity === undefined) {
    throw new StillpointError('NOT_FOUND', `${layout.dataDir} was never backed up`, { path: layout.dataDir });
  }
  const { openPostgresJobStore } = await import('./postgres-job-store.ts');
  return openPostgresJobStore(env, { url, storeId: identity.store_id });
}
