import { backUp } from '../backup/back-up.ts';
import { drillBackup } from '../backup/drill-backup.ts';
import { verifyBackup } from '../backup/verify-backup.ts';
import { BackupCoordinator } from '../coordinator/backup.ts';
import { warn } from '../env/safe-calls.ts';
import { StillpointError } from '../errors.ts';
import { DataDirectory } from '../operation/data-directory.ts';
import { Lifecycle } from '../operation/lifecycle.ts';
import type { Environment } from '../snapshot/environment.ts';
import { readStoreFile } from '../snapshot/store/store-identity.ts';
import type { Schedule } from './scheduler.ts';
import type { Plan } from './settings.ts';

export interface PerformOptions {
  readonly environment: Environment;
  readonly signal?: AbortSignal | undefined;
  /** Of a database that this process has open, by its data directory; undefined for others. */
  readonly coordinatorOf?: (dataDir: string) => BackupCoordinator | undefined;
}

/** Does what a schedule says; rejects with what kept it from its end, and when what was read is damaged. */
export async function perform({ plan, action }: Schedule, options: PerformOptions): Promise<void> {
  if (action === 'backup') return runBackup(plan, options);
  const { environment, signal } = options;
  const store = await storeOf(plan, environment);
  const { destination: from, encryption } = plan.repository;
  const about = { environment, from, store, signal, ...(encryption && { encryption }) };
  if (action === 'verify') {
    const report = await verifyBackup('latest', about);
    if (report.ok) return;
    const [finding] = report.findings;
    throw new StillpointError('BACKUP_DAMAGED', `${report.backupId}: ${finding?.message ?? report.verdict}`);
  }
  await drillBackup('latest', { ...about, ...(plan.scratch !== undefined && { scratch: plan.scratch }) });
}

async function runBackup(plan: Plan, { environment, signal, coordinatorOf }: PerformOptions): Promise<void> {
  const { dataDir, engine } = plan.store;
  const { destination: to, encryption } = plan.repository;
  const { retention, keep_snapshots: keep } = plan;
  const lifecycle = new Lifecycle({ dataDir, environment });
  const coordinator = coordinatorOf?.(dataDir) ?? new BackupCoordinator({ dataDir, engine, lifecycle });
  const { warnings } = await backUp(dataDir, {
    environment,
    to,
    coordinator,
    signal,
    ...(encryption && { encryption }),
    ...(plan.jobs !== undefined && { jobs: plan.jobs }),
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

async function storeOf({ store: { dataDir } }: Plan, environment: Environment): Promise<string> {
  const layout = await new DataDirectory(dataDir, environment).layout();
  const identity = await readStoreFile(environment.fs, layout);
  if (identity !== undefined) return identity.store_id;
  throw new StillpointError('NOT_FOUND', `there is no backup of ${dataDir} yet`, { path: dataDir });
}
