import { StillpointError } from '../errors.ts';
import { type BackupManifest, objectsOf } from '../repository/backup-manifest.ts';
import { readDamaged } from '../repository/damaged-objects.ts';
import { readVerified } from '../repository/marks.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import type { Environment } from '../snapshot/environment.ts';
import type { Layout } from '../snapshot/store/layout.ts';
import { listedSnapshot } from '../snapshot/store/standing.ts';
import { ensureStoreFile } from '../snapshot/store/store-identity.ts';
import { openJobs } from './jobs/open-jobs.ts';
import { Lineage } from './lineage.ts';
import { type BackupOptions, type DestinationChoice, repositoryOf } from './options.ts';
import { adopt } from './reconcile-backups.ts';

export interface BackupPlaceInRepository {
  readonly repositoryId: string;
  readonly storeId: string;
  readonly backupId: string;
}

/**
 * The backup of a snapshot that was published last from this directory, also when its process died before it could tell: it is put on
 * record then. Undefined when there is none, when another backup was made since, and when an object of it is known to be damaged.
 * `BACKUP_DAMAGED` when its content is: the snapshot has that, too, and another backup of it would pass for a good one.
 */
export async function findBackupOf(
  env: Environment,
  layout: Layout,
  snapshotId: string,
  options: Pick<BackupOptions, 'encryption' | 'signal'> & {
    readonly from: DestinationChoice;
    readonly jobs?: string | undefined;
  },
): Promise<BackupPlaceInRepository | undefined> {
  const { store_id: storeId } = await ensureStoreFile(env, layout);
  const repository = await repositoryOf(env, options.from, options);
  const store = repository.store(storeId);
  const known = await new Lineage(env, layout, storeId).known(repository.id);
  for (const backupId of known.reverse()) {
    if (!(await isWholeBackupOf(store, backupId, snapshotId))) continue;
    if ((await readVerified(store)).get(backupId)?.isDamaged) throw damagedContent(backupId, snapshotId);
    const jobs = await openJobs(env, layout, options.jobs);
    try {
      const isOnRecord = (await jobs.getRecord(backupId)) !== undefined;
      if (!isOnRecord && (await adopt(store, jobs, backupId)) !== 'adopted') continue;
    } finally {
      await jobs.close();
    }
    return { repositoryId: repository.id, storeId, backupId };
  }
  return undefined;
}

/**
 * Refuses a snapshot that stands whose content is known not to hold: a backup of it would pass for a good one. `COPY_DAMAGED` when
 * its last proof here found that, `BACKUP_DAMAGED` when that of an earlier backup of it did.
 */
export async function refuseDamaged(env: Environment, store: StoreBackups, folder: string): Promise<void> {
  const { id, name, state, damage } = await listedSnapshot(env, folder);
  if (state === 'damaged') {
    throw new StillpointError('COPY_DAMAGED', `the snapshot ${name} is damaged: ${damage}`, {
      path: folder,
      hint: 'Take a new snapshot, or back up another: `stillpoint list` shows how they stand.',
    });
  }
  for (const [backupId, { isDamaged }] of await readVerified(store)) {
    if (!isDamaged || id === null) continue;
    if ((await readable(store, backupId))?.snapshot.snapshot?.id === id) throw damagedContent(backupId, id);
  }
}

const damagedContent = (backupId: string, snapshotId: string) =>
  new StillpointError(
    'BACKUP_DAMAGED',
    `the backup ${backupId} of the snapshot ${snapshotId} is damaged: its content does not hold`,
    {
      hint: 'Take a new snapshot and back that up: the content of this one is the same as that of its backup.',
    },
  );

async function isWholeBackupOf(store: StoreBackups, backupId: string, snapshotId: string): Promise<boolean> {
  const manifest = await readable(store, backupId);
  if (manifest?.snapshot.snapshot?.id !== snapshotId) return false;
  const damaged = await readDamaged(store);
  return ![...objectsOf(manifest).keys()].some((key) => damaged.has(key));
}

/** Undefined for one that is gone, and for one that cannot be trusted. */
async function readable(store: StoreBackups, backupId: string): Promise<BackupManifest | undefined> {
  try {
    return await store.read(backupId);
  } catch (error) {
    if (error instanceof StillpointError && error.code === 'BACKUP_DAMAGED') return undefined;
    throw error;
  }
}
