import { RunControl } from '../env/run-control.ts';
import { toStillpointError } from '../errors.ts';
import { type Fields, OptionSet, type OptionsOf, optional, withDefault } from '../options/option.ts';
import { milliseconds, trueOrFalse, wholeNumber } from '../options/values.ts';
import { pinsOn, removeMark } from '../repository/marks.ts';
import { removeBackup } from '../repository/remove-backup.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import { countUnnamed, type Swept, sweep } from '../repository/sweep.ts';
import type { JobStore } from './jobs/job-store.ts';
import { standingBackups } from './known-backups.ts';
import { fromFields } from './list-backups.ts';
import { onRecord, onRecordFields } from './on-record.ts';
import { translated } from './options.ts';
import { reconcile } from './reconcile-backups.ts';
import { type Decision, decide, type RetentionRule } from './retention.ts';

/** Which backups a repository keeps. */
export const retentionFields = () =>
  ({
    keepLast: optional(wholeNumber(1), {
      description: 'Keeps the newest so many backups.',
      without: 'no rule',
    }),
    keepWithinMs: optional(milliseconds(), {
      description: 'Keeps all backups that are younger.',
      unit: 'milliseconds',
      without: 'no rule',
      flag: { name: 'keep-within' },
    }),
    keepDaily: optional(wholeNumber(1), {
      description: 'Keeps the newest backup of each of the last so many days that have one, in UTC.',
      without: 'no rule',
    }),
    keepWeekly: optional(wholeNumber(1), {
      description: 'The same for weeks, which begin on Monday.',
      without: 'no rule',
    }),
    keepMonthly: optional(wholeNumber(1), {
      description: 'The same for months.',
      without: 'no rule',
    }),
  }) satisfies Fields;

export const pruneBackupsOptions = new OptionSet(() => ({
  ...fromFields(),
  ...onRecordFields(),
  ...retentionFields(),
  dryRun: withDefault(trueOrFalse(), () => false, {
    description: 'Tells what would be removed, and removes nothing.',
  }),
}));
export type PruneBackupsOptions = OptionsOf<typeof pruneBackupsOptions>;

export interface PruneBackupsResult extends Swept {
  readonly storeId: string;
  /** Oldest first, each with all that keeps it. */
  readonly kept: Decision['kept'];
  /** Oldest first. */
  readonly removed: readonly string[];
  readonly dryRun: boolean;
  /** Why no object was listed or deleted; null when the sweep came to its end. */
  readonly notSwept: string | null;
}

/**
 * Removes backups that no rule keeps, and then objects that no backup names: those are listed first and deleted by a prune that comes
 * 48 hours later. Pinned backups, the newest, the newest good one, that of the deepest proof and the newest verified one stay whatever
 * the rule; without a rule all stay. A dry run decides as the run does.
 */
export async function pruneBackups(options: PruneBackupsOptions): Promise<PruneBackupsResult> {
  const resolved = pruneBackupsOptions.resolve('pruneBackups', options);
  const { dryRun } = resolved;
  return translated(() =>
    onRecord('prune', resolved, async (store, jobs) => ({
      look: () => ({ phase: 'prune', bytesProcessed: 0, bytesTotal: 0 }),
      work: async (control) => {
        if (jobs !== undefined) await reconcile(store, jobs);
        return prune(store, { rule: ruleOf(resolved), dryRun, control, ...(jobs && { jobs }) });
      },
    })),
  );
}

/** The rule among other options. */
export const ruleOf = ({
  keepLast,
  keepWithinMs,
  keepDaily,
  keepWeekly,
  keepMonthly,
}: RetentionRule): RetentionRule => ({ keepLast, keepWithinMs, keepDaily, keepWeekly, keepMonthly });

export interface PruneRequest {
  readonly rule: RetentionRule;
  readonly dryRun: boolean;
  /** Of the data directory, where it is at hand: its records are kept in step. */
  readonly jobs?: JobStore;
  readonly control?: RunControl;
}

export async function prune(
  store: StoreBackups,
  { rule, dryRun, jobs, control = new RunControl() }: PruneRequest,
): Promise<PruneBackupsResult> {
  const { storeId, environment } = store;
  const { standing, unfinished, needed } = await standingBackups(store, control);
  const decision = decide(standing, rule, environment.clock.nowMs());
  // What an earlier prune began is brought to its end, whatever the rule says by now.
  const toRemove = [...unfinished, ...decision.removed].sort();
  // One that is lost may come back, and needs its objects then.
  const recorded = (await jobs?.listRecords(store.repositoryId))?.filter(
    (record) => record.storeId === storeId && record.state !== 'deleting',
  );
  const ids = new Set(recorded?.map(({ id }) => id));
  const about = { storeId, dryRun };
  if (dryRun) {
    const { count, notSwept } = await countUnnamed(store, { recorded: ids, control }).then(
      (count) => ({ count, notSwept: null }),
      (error) => ({ count: 0, notSwept: reasonOf(error) }),
    );
    return {
      ...about,
      kept: decision.kept,
      removed: toRemove,
      objectsCondemned: count,
      objectsDeleted: 0,
      notSwept,
    };
  }
  for (const id of needed) await removeMark(store, 'deleted', id);
  const kept = [...decision.kept];
  const removed: string[] = [];
  for (const id of toRemove) {
    control.checkCancelled();
    await jobs?.updateBackupRecord(id, 'deleting');
    if (await removeBackup(store, id)) {
      await jobs?.removeBackupRecord(id);
      removed.push(id);
    } else {
      await jobs?.updateBackupRecord(id, 'present');
      kept.push({ backupId: id, reasons: await pinsOn(store, id) });
    }
    ids.delete(id);
  }
  kept.sort((a, b) => (a.backupId < b.backupId ? -1 : 1));
  const swept = await sweep(store, { recorded: ids, control }).then(
    (done) => ({ ...done, notSwept: null }),
    (error) => ({ objectsCondemned: 0, objectsDeleted: 0, notSwept: reasonOf(error) }),
  );
  return { ...about, kept, removed, ...swept };
}

/** Backups that cannot be read keep a sweep from its work; nothing else is a reason to go on without one. */
function reasonOf(error: unknown): string {
  const known = toStillpointError(error);
  if (known.code !== 'BACKUP_DAMAGED') throw known;
  return known.message;
}
