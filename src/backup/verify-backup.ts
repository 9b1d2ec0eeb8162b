import { noCounts, type Report } from '../engine/report.ts';
import { aFolder, aText, type Checks, checkOptions, oneOf, optional } from '../env/checks.ts';
import { temporaryFolder } from '../env/temporary-folder.ts';
import { BACKUP_LEVELS, type BackupLevel, checkObjects } from '../repository/verify.ts';
import { FROM, type FromOptions, storeOf } from './list-backups.ts';
import { followed, translated } from './options.ts';
import { proveInScratch } from './restore-backup.ts';

export interface VerifyBackupOptions extends FromOptions {
  /**
   * How thoroughly. Default `data`.
   * - `manifest`: every object is there, with its size.
   * - `data`: and each was read and holds what was uploaded.
   * - `full`: and the whole was restored into a scratch folder, where the engine's proof passed.
   */
  readonly level?: BackupLevel;
  /** For `full`: an existing folder with room for the whole. Default: the system's folder for temporary files. */
  readonly scratch?: string;
}

export interface BackupReport extends Omit<Report, 'level'> {
  readonly backupId: string;
  readonly storeId: string;
  readonly level: BackupLevel;
}

const OPTIONS: Checks<VerifyBackupOptions> = {
  ...FROM,
  level: optional(oneOf(BACKUP_LEVELS)),
  scratch: optional(aFolder),
};

/**
 * Reads a backup and reports all that is wrong with it. Changes nothing. Resolves also when it is damaged: look at `ok`. Rejects
 * when nothing can be said: `NOT_FOUND`, `BACKUP_DAMAGED` when its manifest cannot be trusted, `DESTINATION_UNREACHABLE`, ….
 */
export async function verifyBackup(backup: string, options: VerifyBackupOptions): Promise<BackupReport> {
  aText('verifyBackup: backup', backup);
  checkOptions('verifyBackup', options, OPTIONS);
  return translated(async () => {
    const store = await storeOf(options);
    const manifest = await store.find(backup);
    const { level = 'data', scratch = temporaryFolder() } = options;
    const stored = manifest.files.reduce((sum, file) => sum + (file.stored?.bytes ?? 0), 0);
    const total = manifest.snapshot.entries.reduce((sum, { size }) => sum + size, 0);
    const bytesTotal = { manifest: 0, data: stored, full: stored + 2 * total }[level];
    return followed(
      store.environment,
      options,
      (control) => ({ phase: 'verify', bytesProcessed: control.bytes, bytesTotal }),
      async (control): Promise<BackupReport> => {
        const { findings, steps } = await checkObjects(
          store,
          manifest,
          level === 'manifest' ? 'manifest' : 'data',
          control,
        );
        const ok = findings.length === 0;
        const about = { backupId: manifest.backupId, storeId: store.storeId, level };
        if (level === 'full' && ok) {
          const report = await proveInScratch(store, manifest, scratch, control);
          return { ...report, ...about, steps: [...steps, ...report.steps] };
        }
        const bytes = level === 'manifest' ? 0 : control.bytes;
        return {
          ok,
          verdict: ok ? 'faithful' : 'copy-damaged',
          engine: manifest.engine,
          steps,
          counts: { ...noCounts(), files: manifest.files.length, bytes },
          findings,
          ...about,
        };
      },
    );
  });
}
