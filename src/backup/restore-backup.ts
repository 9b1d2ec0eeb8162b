import { resolve } from 'node:path';
import type { Report } from '../engine/report.ts';
import type { RunControl } from '../env/run-control.ts';
import { StillpointError } from '../errors.ts';
import { DataDirectory } from '../operation/data-directory.ts';
import {
  checkArgument,
  OptionSet,
  type OptionsOf,
  optional,
  required,
  withDefault,
} from '../options/option.ts';
import { rewriteManifest } from '../options/restore.ts';
import { level } from '../options/snapshot.ts';
import { folder, text, trueOrFalse } from '../options/values.ts';
import type { BackupManifest } from '../repository/backup-manifest.ts';
import { backupSource } from '../repository/backup-source.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import type { Environment } from '../snapshot/environment.ts';
import { restoreInto, stage } from '../snapshot/restore/restore.ts';
import { checkSource } from '../snapshot/restore/restore-source.ts';
import type { SnapshotSource } from '../snapshot/source/snapshot-source.ts';
import { readStoreFile } from '../snapshot/store/store-identity.ts';
import { namingBest } from './best-backup.ts';
import { fromFields, storeOf } from './list-backups.ts';
import { environmentOf, followed, translated } from './options.ts';
import { refuseOverlap } from './placement.ts';
import { inScratch } from './scratch.ts';

export const restoreBackupOptions = new OptionSet(() => ({
  ...fromFields(),
  into: required(folder(), {
    description: 'A new folder: it must not exist or be empty.',
    flag: { value: 'dir' },
  }),
  level: level(),
  rewriteManifest: rewriteManifest(),
}));
export type RestoreBackupOptions = OptionsOf<typeof restoreBackupOptions>;

export interface RestoreBackupResult {
  readonly backupId: string;
  readonly storeId: string;
  readonly into: string;
  readonly files: number;
  readonly bytes: number;
  readonly undo: null;
  readonly report: Report;
}

/**
 * Restores a backup, named by its id or `latest`, into a new folder, which appears whole and proven or not at all. Needs nothing but
 * the repository. `BACKUP_DAMAGED` or `RESTORE_INTEGRITY_MISMATCH` when it is damaged, `TARGET_NOT_EMPTY`, `NO_SPACE`.
 */
export async function restoreBackup(
  backup: string,
  options: RestoreBackupOptions,
): Promise<RestoreBackupResult> {
  checkArgument('restoreBackup: backup', text(), backup);
  const { into, level, rewriteManifest, ...from } = restoreBackupOptions.resolve('restoreBackup', options);
  return translated(async () => {
    const store = await storeOf(from);
    const env = store.environment;
    await refuseOverlap(env, store.destination, into);
    const manifest = await found(store, backup);
    let bytesTotal = 0;
    const look = (control: RunControl) => ({ phase: 'restore', bytesProcessed: control.bytes, bytesTotal });
    return followed(env, from, look, async (control) => {
      const source = await checkSource(env, sourceOf(store, manifest), control);
      try {
        bytesTotal = 2 * source.bytes; // once for the download and once for its proof
        const how = { level, rewriteManifest };
        const { report } = await restoreInto(env, source, into, how, control);
        return {
          backupId: manifest.backupId,
          storeId: store.storeId,
          into: resolve(into),
          files: manifest.files.length,
          bytes: source.bytes,
          undo: null,
          report,
        };
      } finally {
        await source.release();
      }
    });
  });
}

export const openBackupOptions = new OptionSet(() => ({
  ...fromFields(),
  dataDir: optional(folder(), {
    description: 'The data directory to restore in place. The backup must be one of its own store.',
    without: 'any store will do',
  }),
  allowOtherStore: withDefault(trueOrFalse(), () => false, {
    description: 'With `dataDir`: the backup may be one of another store.',
    flag: { description: 'with --in-place: the backup may be one of another store' },
  }),
}));
export type OpenBackupOptions = OptionsOf<typeof openBackupOptions>;

export interface OpenedBackup {
  readonly backupId: string;
  readonly storeId: string;
  /** For `startRestore` of the `RestoreCoordinator`, which restores in place. */
  readonly source: SnapshotSource;
}

/**
 * Opens a backup for a restore in place. `RESTORE_PRECONDITION_FAILED` when it is one of another store than `dataDir`, `NOT_FOUND`,
 * `DESTINATION_PATH_CONFLICT` when the repository and `dataDir` lie in one another, `BACKUP_DAMAGED`.
 */
export async function openBackup(backup: string, options: OpenBackupOptions): Promise<OpenedBackup> {
  checkArgument('openBackup: backup', text(), backup);
  const { dataDir, allowOtherStore, ...from } = openBackupOptions.resolve('openBackup', options);
  return translated(async () => {
    const env = environmentOf(from);
    const own = dataDir === undefined ? undefined : await ownStore(env, dataDir);
    const store = await storeOf(from, allowOtherStore ? undefined : own);
    const { storeId } = store;
    if (dataDir !== undefined) await refuseOverlap(env, store.destination, dataDir);
    const manifest = await found(store, backup);
    if (dataDir !== undefined && !allowOtherStore && own !== storeId) {
      throw new StillpointError(
        'RESTORE_PRECONDITION_FAILED',
        `${backup} is a backup of store ${storeId}, and ${dataDir} is ${own === undefined ? 'no store yet' : `store ${own}`}`,
        { path: dataDir },
      );
    }
    return { backupId: manifest.backupId, storeId, source: sourceOf(store, manifest) };
  });
}

const found = (store: StoreBackups, backup: string): Promise<BackupManifest> =>
  store.find(backup).catch(async (error) => {
    throw await namingBest(store, backup, error);
  });

/** An error of a restore from it names the best other backup when this one is damaged. */
const sourceOf = (store: StoreBackups, manifest: BackupManifest): SnapshotSource => ({
  ...backupSource(store, manifest),
  explain: (error) => namingBest(store, manifest.backupId, error),
});

async function ownStore(env: Environment, dataDir: string): Promise<string | undefined> {
  const layout = await new DataDirectory(dataDir, env).layout();
  return (await readStoreFile(env.fs, layout))?.store_id;
}

/** Downloads a backup into a folder that is thrown away, and proves it there. */
export const proveInScratch = (
  store: StoreBackups,
  manifest: BackupManifest,
  scratch: string,
  control: RunControl,
): Promise<Report> => withScratch(store, manifest, scratch, control, async (report) => report);

/** The same, with a look at the folder before it is thrown away. */
export async function withScratch<T>(
  store: StoreBackups,
  manifest: BackupManifest,
  scratch: string,
  control: RunControl,
  look: (report: Report, folder: string) => Promise<T>,
): Promise<T> {
  const env = store.environment;
  const source = await checkSource(env, sourceOf(store, manifest), control);
  try {
    return await inScratch(env, store.destination, scratch, async (folder) => {
      const { report } = await stage(env, source, folder, { level: 'full' }, control);
      return look(report, folder);
    });
  } finally {
    await source.release();
  }
}
