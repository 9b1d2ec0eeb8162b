import type { Clock } from '../env/clock.ts';
import type { FileSystem } from '../env/file-system.ts';
import type { RunControl } from '../env/run-control.ts';
import { hintOf, StillpointError, toStillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import { withLedgerLock } from '../snapshot/ledger/ledger-file.ts';
import type { Layout } from '../snapshot/store/layout.ts';
import { RunRecords } from './records.ts';
import { REASON_LIMIT } from './run.ts';
import type { RunRecord, UpkeepKind } from './run-record.ts';

/**
 * `upkeep.jsonl`: what was verified, pruned and deleted. A file of its own, so that a timer which prunes every minute does not push the
 * snapshots off the record, and so that verifying, which holds no lifecycle lock, can write to it. A line is written when the work has
 * ended, and never before: a full disk does not keep anyone from making room.
 */
export const upkeepRecords = (fs: FileSystem, layout: Layout): RunRecords =>
  new RunRecords(fs, layout, layout.upkeep);

/** What came of it, where it did not throw. */
export interface UpkeepOutcome {
  readonly upkeep: NonNullable<RunRecord['upkeep']>;
  /** The damage that verifying found. */
  readonly failure?: StillpointError | undefined;
}

export interface Upkeep<T> {
  readonly kind: UpkeepKind;
  /** Undefined: the folder belongs to no data directory, and nothing is put on record. */
  readonly layout: Layout | undefined;
  readonly location: string;
  /** Counts the bytes that are read. */
  readonly control?: RunControl;
  /** Undefined: it is not put on record. */
  readonly outcomeOf: (result: T) => UpkeepOutcome | undefined;
  /** Tells in the result that no line could be written. Without it, that is not told. */
  readonly unrecorded?: (result: T, error: unknown) => T;
}

const WAIT_MS = 1_000;

/** Does `work` and puts it on record. Where no line can be written, the work counts all the same. */
export async function onUpkeepRecord<T>(
  env: Environment,
  { kind, layout, location, control, outcomeOf, unrecorded = (result) => result }: Upkeep<T>,
  work: () => Promise<T>,
): Promise<T> {
  if (layout === undefined) return work();
  const startedAtMs = env.clock.nowMs();
  const note = (outcome: Partial<UpkeepOutcome>) =>
    write(env, layout, {
      id: env.newId(),
      kind,
      location,
      state: stateOf(env.clock, startedAtMs, control, outcome.failure),
      metadata: null,
      undo: null,
      upkeep: outcome.upkeep ?? null,
    });
  let result: T;
  try {
    result = await work();
  } catch (error) {
    await note({ failure: toStillpointError(error) }).catch(() => undefined);
    throw error;
  }
  const outcome = outcomeOf(result);
  if (outcome === undefined) return result;
  return note(outcome).then(
    () => result,
    (error) => unrecorded(result, error),
  );
}

function stateOf(
  clock: Clock,
  startedAtMs: number,
  control: RunControl | undefined,
  failure: StillpointError | undefined,
): RunRecord['state'] {
  const bytes = control?.bytes;
  const code = control?.isCancelled && failure !== undefined ? 'CANCELLED' : (failure?.code ?? null);
  return {
    status: code === null ? 'completed' : code === 'CANCELLED' ? 'cancelled' : 'failed',
    startedAtMs,
    finishedAtMs: clock.nowMs(),
    progress: bytes === undefined ? null : { percent: null, bytesProcessed: bytes, bytesTotal: null },
    reason: failure?.message.slice(0, REASON_LIMIT) ?? null,
    code,
    hint: code === failure?.code ? failure.hint.slice(0, REASON_LIMIT) : hintOf(code),
    phase: null,
    filesProcessed: null,
    filesTotal: null,
  };
}

/** Under the lock of the ledger: each who verifies takes it anyway. */
const write = (env: Environment, layout: Layout, record: RunRecord): Promise<void> =>
  withLedgerLock(env, layout.backup, WAIT_MS, async () => {
    const records = upkeepRecords(env.fs, layout);
    const isOnDisk = await records.end(record);
    if (!isOnDisk)
      throw new StillpointError('NO_SPACE', `no space left for ${layout.upkeep}`, { path: layout.upkeep });
    await records.closeInterrupted(record.state.finishedAtMs!); // drops the oldest
  });

/** Two lists, each in its own order, as one by the time of their ends. What runs is last. */
export function inOrder(runs: readonly RunRecord[], upkeep: readonly RunRecord[]): RunRecord[] {
  const merged: RunRecord[] = [];
  let next = 0;
  for (const run of runs) {
    const endedMs = run.state.finishedAtMs ?? Number.POSITIVE_INFINITY;
    for (; next < upkeep.length && (upkeep[next]!.state.finishedAtMs ?? 0) < endedMs; next++)
      merged.push(upkeep[next]!);
    merged.push(run);
  }
  return [...merged, ...upkeep.slice(next)];
}
