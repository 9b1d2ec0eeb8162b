import { join, resolve } from 'node:path';
import { LEVELS, type Level, type Report } from '../engine/report.ts';
import { aFolder, aText, type Checks, checkOptions, oneOf, optional } from '../env/checks.ts';
import { removeTree } from '../env/io.ts';
import type { RunControl } from '../env/worker-pool.ts';
import { StillpointError } from '../errors.ts';
import { Lifecycle } from '../operation/lifecycle.ts';
import type { BackupManifest } from '../repository/backup-manifest.ts';
import { backupSource } from '../repository/backup-source.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import { restoreInto, stage } from '../snapshot/restore/restore.ts';
import { checkSource } from '../snapshot/restore/restore-source.ts';
import type { SnapshotSource } from '../snapshot/source/snapshot-source.ts';
import { readStoreFile } from '../snapshot/store/store-identity.ts';
import { FROM, type FromOptions, storeOf } from './list-backups.ts';
import { followed, translated } from './options.ts';

export interface RestoreBackupOptions extends FromOptions {
  /** The new folder; must not exist or be empty. */
  readonly into: string;
  /** How thoroughly the restored files are proven. Default `full`. */
  readonly level?: Level;
}

export interface RestoreBackupResult {
  readonly backupId: string;
  readonly storeId: string;
  readonly into: string;
  readonly files: number;
  readonly bytes: number;
  readonly undo: null;
  readonly report: Report;
}

const OPTIONS: Checks<RestoreBackupOptions> = { ...FROM, into: aFolder, level: optional(oneOf(LEVELS)) };

/**
 * Restores a backup, named by its id or `latest`, into a new folder, which appears whole and proven or not at all. Needs nothing but
 * the repository. `BACKUP_DAMAGED` or `RESTORE_INTEGRITY_MISMATCH` when it is damaged, `TARGET_NOT_EMPTY`, `NO_SPACE`.
 */
export async function restoreBackup(
  backup: string,
  options: RestoreBackupOptions,
): Promise<RestoreBackupResult> {
  aText('restoreBackup: backup', backup);
  checkOptions('restoreBackup', options, OPTIONS);
  return translated(async () => {
    const store = await storeOf(options);
    const env = store.environment;
    const manifest = await store.find(backup);
    const { level = 'full', into } = options;
    let bytesTotal = 0;
    const look = (control: RunControl) => ({ phase: 'restore', bytesProcessed: control.bytes, bytesTotal });
    return followed(env, options, look, async (control) => {
      const source = await checkSource(env, backupSource(store, manifest), control);
      try {
        bytesTotal = 2 * source.bytes; // once for the download and once for its proof
        const { report } = await restoreInto(env, source, into, level, 'never', control);
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

export interface OpenBackupOptions extends FromOptions {
  /** The backup must be one of this directory's own store. Default: any store will do. */
  readonly dataDir?: string;
}

const OPEN: Checks<OpenBackupOptions> = { ...FROM, dataDir: optional(aFolder) };

export interface OpenedBackup {
  readonly backupId: string;
  readonly storeId: string;
  /** For `startRestore` of the `RestoreCoordinator`, which restores in place. */
  readonly source: SnapshotSource;
}

/**
 * Opens a backup for a restore in place. `RESTORE_PRECONDITION_FAILED` when it is one of another store than `dataDir`, `NOT_FOUND`,
 * `BACKUP_DAMAGED`.
 */
export async function openBackup(backup: string, options: OpenBackupOptions): Promise<OpenedBackup> {
  aText('openBackup: backup', backup);
  checkOptions('openBackup', options, OPEN);
  return translated(async () => {
    const store = await storeOf(options);
    const { environment: env, storeId } = store;
    const manifest = await store.find(backup);
    if (options.dataDir !== undefined) {
      const lifecycle = new Lifecycle({ dataDir: options.dataDir, environment: env });
      const own = (await readStoreFile(env.fs, await lifecycle.layout()))?.store_id;
      if (own !== storeId) {
        throw new StillpointError(
          'RESTORE_PRECONDITION_FAILED',
          `${backup} is a backup of store ${storeId}, and ${options.dataDir} is ${own === undefined ? 'no store yet' : `store ${own}`}`,
          { path: options.dataDir },
        );
      }
    }
    return { backupId: manifest.backupId, storeId, source: backupSource(store, manifest) };
  });
}

/** Downloads a backup into a folder that is thrown away, and proves it there. */
export async function proveInScratch(
  store: StoreBackups,
  manifest: BackupManifest,
  scratch: string,
  control: RunControl,
): Promise<Report> {
  const env = store.environment;
  const folder = join(await env.fs.realPath(scratch), `stillpoint-scratch-${env.newId()}`);
  const source = await checkSource(env, backupSource(store, manifest), control);
  try {
    return (await stage(env, source, folder, 'full', 'never', control)).report;
  } finally {
    await source.release();
    await removeTree(env.fs, folder);
  }
}
