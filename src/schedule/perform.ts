import { backUp } from '../backup/back-up.ts';
import { type DrillBackupOptions, drillBackup } from '../backup/drill-backup.ts';
import type { Job } from '../backup/jobs/job-store.ts';
import { problemIn, verifyBackup } from '../backup/verify-backup.ts';
import { BackupCoordinator } from '../coordinator/backup.ts';
import { warn } from '../env/safe-calls.ts';
import { Lifecycle } from '../operation/lifecycle.ts';
import type { Environment } from '../snapshot/environment.ts';
import type { Schedule } from './scheduler.ts';
import type { Plan } from './settings.ts';

export interface PerformOptions {
  readonly environment: Environment;
  readonly signal?: AbortSignal | undefined;
  /** Of a database that this process has open, by its data directory; undefined for others. */
  readonly coordinatorOf?: ((dataDir: string) => BackupCoordinator | undefined) | undefined;
  /** Called once the job is on record. */
  readonly onJobCreated?: ((job: Job) => void) | undefined;
}

/** Does what a schedule says; rejects with what kept it from its end, and when what was read is damaged or could not be read. */
export async function perform(
  { plan, action }: Pick<Schedule, 'plan' | 'action'>,
  options: PerformOptions,
): Promise<void> {
  if (action === 'backup') return runBackup(plan, options);
  const { environment, signal, onJobCreated } = options;
  const { destination: from, encryption } = plan.repository;
  const about = {
    environment,
    from,
    dataDir: plan.store.dataDir,
    signal,
    ...(encryption && { encryption }),
    ...(plan.jobs !== undefined && { jobs: plan.jobs }),
    ...(onJobCreated && { onJobCreated }),
  };
  const read =
    action === 'verify'
      ? await verifyBackup('latest', about)
      : await drilled({ ...about, ...(plan.scratch !== undefined && { scratch: plan.scratch }) });
  const problem = problemIn(read);
  if (problem !== undefined) throw problem;
}

async function drilled(about: DrillBackupOptions) {
  const { backupId, report } = await drillBackup('latest', about);
  return { ...report, backupId };
}

async function runBackup(
  plan: Plan,
  { environment, signal, coordinatorOf, onJobCreated }: PerformOptions,
): Promise<void> {
  const { dataDir, engine } = plan.store;
  const { destination: to, encryption, compress } = plan.repository;
  const { retention, keep_snapshots: keep, local } = plan;
  const lifecycle = new Lifecycle({ dataDir, environment });
  const coordinator = coordinatorOf?.(dataDir) ?? new BackupCoordinator({ dataDir, engine, lifecycle });
  const { warnings } = await backUp(dataDir, {
    environment,
    to,
    compress,
    local,
    coordinator,
    signal,
    ...(encryption && { encryption }),
    ...(plan.jobs !== undefined && { jobs: plan.jobs }),
    ...(onJobCreated && { onJobCreated }),
    ...(keep !== undefined && { snapshotOptions: { keep } }),
    ...(retention && {
      retention: {
        keepLast: retention.keep_last,
        keepWithinMs: retention.keep_within,
        keepDaily: retention.keep_daily,
        keepWeekly: retention.keep_weekly,
        keepMonthly: retention.keep_monthly,
      },
    }),
  });
  for (const warning of warnings) warn(`${plan.name}: ${warning}`);
}
