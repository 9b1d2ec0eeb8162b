import { join } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import type { BackupPlan } from '../plan/plan.ts';
import { Execution, type JournalRecord, recordSchema } from './operation-states.ts';
import { type LogFile, type ReadLog, RecordLog, replayLog } from './record-log.ts';

/** `backup-journal.log`: what has happened to the plan of a backup. */
export type Journal = RecordLog<JournalRecord, Execution>;

export const journalFileOf = (layout: string): string => join(layout, 'backup-journal.log');

const logOf = (layout: string, plan: BackupPlan): LogFile<JournalRecord, Execution> => ({
  path: journalFileOf(layout),
  record: recordSchema,
  begin: () => new Execution(plan),
});

/** Replays a journal and changes nothing. Undefined when there is none; `JOURNAL_INVALID` when it is damaged or not of this plan. */
export const replayJournal = (
  fs: FileSystem,
  layout: string,
  plan: BackupPlan,
): Promise<ReadLog<Execution> | undefined> => replayLog(fs, logOf(layout, plan));

/** Opens the journal of a plan, or makes it. A torn end is cut. The caller holds the run lock. */
export function openJournal(
  fs: FileSystem,
  layout: string,
  plan: BackupPlan,
  nowMs: number,
): Promise<Journal> {
  const { plan_id, run_id, plan_sha256, operations } = plan;
  return RecordLog.open(fs, logOf(layout, plan), {
    type: 'opened',
    plan_id,
    run_id,
    plan_sha256,
    operations: operations.length,
    at_ms: nowMs,
  });
}
