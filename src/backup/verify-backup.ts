import { noCounts, type Report } from '../engine/report.ts';
import type { RunControl } from '../env/run-control.ts';
import { warn } from '../env/safe-calls.ts';
import { temporaryFolder } from '../env/temporary-folder.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import { checkArgument, OptionSet, type OptionsOf, withDefault } from '../options/option.ts';
import { folder, oneOf, text } from '../options/values.ts';
import type { BackupManifest } from '../repository/backup-manifest.ts';
import { recordDamaged } from '../repository/damaged-objects.ts';
import { readObjections, recordReading } from '../repository/marks.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import { BACKUP_LEVELS, type BackupLevel, checkObjects } from '../repository/verify.ts';
import { fromFields } from './list-backups.ts';
import { onRecord, onRecordFields } from './on-record.ts';
import { translated } from './options.ts';
import { proveInScratch } from './restore-backup.ts';

export const verifyBackupOptions = new OptionSet(() => ({
  ...fromFields(),
  ...onRecordFields(),
  level: withDefault(oneOf(BACKUP_LEVELS), () => 'data', {
    description:
      'How much is verified: `manifest` (objects are there, with their sizes; their bytes stay unread), `data` (also read, and they hold what was uploaded), `full` (also restored into a scratch folder and proven).',
  }),
  scratch: withDefault(folder(), temporaryFolder, {
    description: 'For level `full`: an existing folder with room for the whole backup.',
    flag: { value: 'dir' },
  }),
}));
export type VerifyBackupOptions = OptionsOf<typeof verifyBackupOptions>;

export interface BackupReport extends Omit<Report, 'level'> {
  readonly backupId: string;
  readonly storeId: string;
  readonly level: BackupLevel;
  /** Why the damage could not be put on record in the repository. Null when it was, and when there is none. */
  readonly unrecorded: string | null;
}

/**
 * Reads a backup and reports all that is wrong with it. Damaged objects are put on record in the repository: the next backup uploads
 * their data again. Nothing else is changed. Resolves also when the backup is damaged: look at `ok`. Rejects
 * when nothing can be said: `NOT_FOUND`, `BACKUP_DAMAGED` when its manifest cannot be trusted, `DESTINATION_UNREACHABLE`, ….
 */
export async function verifyBackup(backup: string, options: VerifyBackupOptions): Promise<BackupReport> {
  checkArgument('verifyBackup: backup', text(), backup);
  const { level, scratch, ...from } = verifyBackupOptions.resolve('verifyBackup', options);
  return translated(() =>
    onRecord('verify', from, async (store) => {
      const manifest = await store.find(backup);
      const stored = manifest.files.reduce((sum, file) => sum + (file.stored?.bytes ?? 0), 0);
      const total = manifest.snapshot.entries.reduce((sum, { size }) => sum + size, 0);
      const bytesTotal = { manifest: 0, data: stored, full: stored + 2 * total }[level];
      return {
        backupId: manifest.backupId,
        look: (control) => ({ phase: 'verify', bytesProcessed: control.bytes, bytesTotal }),
        work: (control) => verify(store, manifest, { level, scratch, control }),
        // This level reads no data, and says so.
        problem: (report) =>
          level === 'manifest' && report.verdict === 'unread' ? undefined : problemIn(report),
      };
    }),
  );
}

async function verify(
  store: StoreBackups,
  manifest: BackupManifest,
  how: { readonly level: BackupLevel; readonly scratch: string; readonly control: RunControl },
): Promise<BackupReport> {
  const { level, scratch, control } = how;
  const objections = level === 'full' ? await readObjections(store, manifest.backupId) : [];
  const { findings, damaged, steps } = await checkObjects(
    store,
    manifest,
    level === 'manifest' ? 'manifest' : 'data',
    control,
  );
  const isWhole = findings.length === 0;
  const unrecorded = await recordDamaged(store, damaged).then(
    () => null,
    (error) => toStillpointError(error).message,
  );
  const about = { backupId: manifest.backupId, storeId: store.storeId, level, unrecorded };
  if (level === 'full' && isWhole) {
    const report = await proveInScratch(store, manifest, scratch, control);
    const reading = report.ok ? 'full' : 'unread';
    await recordReading(store, manifest.backupId, reading, objections).catch(warn);
    return { ...report, ...about, steps: [...steps, ...report.steps] };
  }
  const verdict = !isWhole ? 'copy-damaged' : level === 'manifest' ? 'unread' : 'faithful';
  const bytes = level === 'manifest' ? 0 : control.bytes;
  if (verdict === 'faithful') await recordReading(store, manifest.backupId, 'data').catch(warn);
  return {
    ok: verdict === 'faithful',
    verdict,
    medium: false,
    engine: manifest.engine,
    steps,
    counts: { ...noCounts(), files: manifest.files.length, bytes },
    findings,
    ...about,
  };
}

/** What keeps a backup from being known as good. */
export function problemIn({
  backupId,
  verdict,
  findings,
}: Pick<Report, 'verdict' | 'findings'> & { readonly backupId: string }): StillpointError | undefined {
  if (verdict === 'faithful') return undefined;
  const message = `${backupId}: ${findings[0]?.message ?? verdict}`;
  return new StillpointError(verdict === 'unread' ? 'UNREAD' : 'BACKUP_DAMAGED', message);
}
