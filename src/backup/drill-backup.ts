import { probeWithClassicLevel } from '../engine/leveldb/probe.ts';
import type { Report } from '../engine/report.ts';
import { warn } from '../env/safe-calls.ts';
import { temporaryFolder } from '../env/temporary-folder.ts';
import { StillpointError } from '../errors.ts';
import { checkArgument, OptionSet, type OptionsOf, optional, withDefault } from '../options/option.ts';
import { callback, folder, text } from '../options/values.ts';
import { readObjections, recordReading } from '../repository/marks.ts';
import { fromFields } from './list-backups.ts';
import { onRecord, onRecordFields } from './on-record.ts';
import { translated } from './options.ts';
import { withScratch } from './restore-backup.ts';
import { problemIn } from './verify-backup.ts';

export const drillBackupOptions = new OptionSet(() => ({
  ...fromFields(),
  ...onRecordFields(),
  scratch: withDefault(folder(), temporaryFolder, {
    description: 'An existing folder with room for the whole backup.',
    flag: { value: 'dir' },
  }),
  probe: optional(callback<(dir: string) => unknown>(), {
    description: 'Opens the restored folder as your program would; rejects when it cannot.',
    without: 'the database itself, where it is at hand',
  }),
}));
export type DrillBackupOptions = OptionsOf<typeof drillBackupOptions>;

export interface DrillResult {
  readonly backupId: string;
  readonly storeId: string;
  readonly verdict: Report['verdict'];
  /** From the first byte of the download until the restored folder was proven and opened. */
  readonly restoreMs: number;
  readonly bytes: number;
  /** What the database said when it was opened; null where there was nothing to open it with. */
  readonly probe: unknown;
  readonly report: Report;
}

/**
 * Restores a backup into a scratch folder as for a lost machine, proves it, opens it, takes the time, and throws it away. Resolves also
 * when the proof could not read everything: `verdict` is `unread` then. Rejects with `RESTORE_INTEGRITY_MISMATCH` or `BACKUP_DAMAGED` when it
 * is damaged, with what kept the restore from its end, or with what the probe rejects with.
 */
export async function drillBackup(backup: string, options: DrillBackupOptions): Promise<DrillResult> {
  checkArgument('drillBackup: backup', text(), backup);
  const { scratch, probe, ...from } = drillBackupOptions.resolve('drillBackup', options);
  return translated(() =>
    onRecord('drill', from, async (store) => {
      const { clock } = store.environment;
      const manifest = await store.find(backup);
      const { backupId } = manifest;
      const bytes = manifest.snapshot.entries.reduce((sum, { size }) => sum + size, 0);
      return {
        backupId,
        look: (control) => ({ phase: 'drill', bytesProcessed: control.bytes, bytesTotal: 2 * bytes }),
        work: async (control): Promise<DrillResult> => {
          const objections = await readObjections(store, backupId);
          const began = clock.monotonicMs();
          return withScratch(store, manifest, scratch, control, async (report, dir) => {
            // A probe that fails is no mark of damage: it may lack a comparator or a compression, and the proof went well.
            const answer = report.ok ? await (probe ?? probeOf(manifest.engine))(dir) : null;
            const restoreMs = Math.round(clock.monotonicMs() - began);
            const { ok, verdict } = report;
            await recordReading(store, backupId, ok ? 'full' : 'unread', objections).catch(warn);
            return {
              backupId,
              storeId: store.storeId,
              verdict,
              restoreMs,
              bytes,
              probe: answer ?? null,
              report,
            };
          });
        },
        problem: ({ report }) => problemIn({ ...report, backupId }),
      };
    }),
  );
}

function probeOf(engine: string): (dir: string) => unknown {
  if (engine === 'lsm') return probeLsm;
  if (engine === 'leveldb') return probeLeveldb;
  return () => null;
}

async function probeLsm(dir: string): Promise<unknown> {
  const { openLsm } = await import('../lsm-database/database.ts');
  const db = await openLsm(dir);
  try {
    let entries = 0;
    for await (const _ of db.iterate()) entries++;
    return { entries };
  } finally {
    await db.close();
  }
}

/** Where classic-level is not installed, nothing can open it. */
async function probeLeveldb(dir: string): Promise<unknown> {
  try {
    return await probeWithClassicLevel({ count: true })(dir);
  } catch (error) {
    if (error instanceof StillpointError && error.code === 'ENGINE_MISSING') return null;
    throw error;
  }
}
