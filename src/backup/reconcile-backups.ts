import { warn } from '../env/safe-calls.ts';
import { StillpointError } from '../errors.ts';
import { DataDirectory } from '../operation/data-directory.ts';
import { checkArgument, OptionSet, type OptionsOf } from '../options/option.ts';
import { folder } from '../options/values.ts';
import { isMarked, readMarks, removeMark } from '../repository/marks.ts';
import { removeBackup } from '../repository/remove-backup.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import { confirmPublished } from '../repository/upload.ts';
import type { BackupRecord, JobStore } from './jobs/job-store.ts';
import { jobsOption, openJobs } from './jobs/open-jobs.ts';
import { type StandingBackups, standingBackups } from './known-backups.ts';
import { fromFields, storeOf } from './list-backups.ts';
import { ownStore, refuseOther } from './on-record.ts';
import { environmentOf, translated } from './options.ts';

export const reconcileOptions = new OptionSet(() => ({ ...fromFields(), jobs: jobsOption() }));
export type ReconcileOptions = OptionsOf<typeof reconcileOptions>;

export interface Reconciled {
  /** On record now: backups of this store that had no record and can be restored. */
  readonly adopted: readonly string[];
  /** Whose backup is not there, and nobody has said that it was deleted. */
  readonly lost: readonly string[];
  /** Whose backup was deleted: there is no record of it any more. */
  readonly forgotten: readonly string[];
}

/** Brings the records of a data directory in step with what its repository holds. `NOT_FOUND` for one that was never backed up. */
export async function reconcileBackups(
  dataDir: string,
  { jobs: choice, ...options }: ReconcileOptions,
): Promise<Reconciled & { readonly storeId: string }> {
  checkArgument('reconcileBackups: dataDir', folder(), dataDir);
  reconcileOptions.check('reconcileBackups', { ...options, jobs: choice });
  return translated(async () => {
    const env = environmentOf(options);
    const layout = await new DataDirectory(dataDir, env).layout();
    const own = await ownStore(env, layout);
    const store = await storeOf(options, own);
    refuseOther(store, own, dataDir);
    const jobs = await openJobs(env, layout, choice);
    try {
      return { storeId: own, ...(await reconcile(store, jobs)) };
    } finally {
      await jobs.close();
    }
  });
}

export async function reconcile(store: StoreBackups, jobs: JobStore): Promise<Reconciled> {
  const records = (await jobs.listRecords(store.repositoryId)).filter((one) => one.storeId === store.storeId);
  const lost: string[] = [];
  const forgotten: string[] = [];
  let standing: StandingBackups | undefined;
  // A removal that was begun comes to its end, unless the backup was pinned since, or is needed by now.
  const isRemoved = async (id: string): Promise<boolean> => {
    if (!(await isMarked(store, 'deleted', id))) return false;
    standing ??= await standingBackups(store);
    if (!standing.needed.includes(id)) return removeBackup(store, id);
    await removeMark(store, 'deleted', id);
    return false;
  };
  for (const { id, state } of records) {
    // A listing may be late: only the manifest's own place says whether it is there.
    if (await store.has(id)) {
      if (await isRemoved(id)) {
        await jobs.removeBackupRecord(id);
        forgotten.push(id);
      } else if (state !== 'present') await jobs.updateBackupRecord(id, 'present');
    } else if (await isMarked(store, 'deleted', id)) {
      await jobs.removeBackupRecord(id);
      forgotten.push(id);
    } else {
      if (state !== 'lost') await jobs.updateBackupRecord(id, 'lost');
      lost.push(id);
    }
  }
  const deleted = await readMarks(store, 'deleted');
  const known = new Set(records.map(({ id }) => id));
  const adopted: string[] = [];
  for (const id of await store.ids()) {
    if (!known.has(id) && !deleted.has(id) && (await adopt(store, jobs, id)) === 'adopted') adopted.push(id);
  }
  return { adopted, lost: lost.sort(), forgotten: forgotten.sort() };
}

/** Puts a backup on record that stands, is whole and stays. `broken`, with a warning, when it stands and is not whole. */
export async function adopt(
  store: StoreBackups,
  jobs: JobStore,
  id: string,
): Promise<'adopted' | 'absent' | 'broken'> {
  try {
    const found = await store.settle(id);
    if (found === undefined || (await isMarked(store, 'deleted', id))) return 'absent';
    await confirmPublished(store, found.manifest);
    await jobs.createBackupRecord(recordOf(store, found));
    return 'adopted';
  } catch (error) {
    if (!(error instanceof StillpointError) || error.code !== 'BACKUP_DAMAGED') throw error;
    warn(error);
    return 'broken';
  }
}

const recordOf = (
  { repositoryId, storeId }: StoreBackups,
  { manifest, key, sha256 }: NonNullable<Awaited<ReturnType<StoreBackups['settle']>>>,
): BackupRecord => ({
  id: manifest.backupId,
  repositoryId,
  storeId,
  createdAtMs: manifest.createdAtMs,
  sizeBytes: manifest.storedBytes,
  state: 'present',
  manifestPath: key,
  sha256,
});
