import { SNAPSHOT_KINDS } from '../options/choices.ts';
import { isSnapshotPlace, layoutAround, nameOf } from '../snapshot/store/layout.ts';
import type { RunRecord } from './run-record.ts';

/** What a data directory, or an undo folder of it, holds. */
export interface Content {
  /** Location of the snapshot that was taken of it last, or that it was restored from. Undefined: there was none. */
  readonly base: string | undefined;
  /** Where an exchange brought it from; undefined where none did, or a snapshot was taken since. */
  readonly from: string | undefined;
  /** The attempt or verification that found it damaged, unless a later one found it whole. */
  readonly damage: RunRecord | undefined;
}

export interface Lineage {
  /** The data directory. */
  readonly now: Content;
  /** What an undo folder of that name holds. Of one that no record tells of, the worst is taken: what was found damaged last. */
  readonly inUndo: (name: string) => Content;
  /**
   * Where the data directory was brought back from, if what is there does not go back to the last snapshot: that one may hold writes which
   * it lacks.
   */
  readonly putBackFrom: string | undefined;
}

/**
 * Follows what was snapshotted, restored, undone and looked at.
 *
 * @param runs In the order of their ends.
 */
export function lineageOf(runs: readonly RunRecord[]): Lineage {
  let now: Content = { base: undefined, from: undefined, damage: undefined };
  let last: string | undefined;
  let lastDamage: RunRecord | undefined;
  let exchanged: RunRecord | undefined;
  const undo = new Map<string, Content>();
  const unknown = (name: string): Content => ({ base: name, from: name, damage: lastDamage });
  for (const run of runs) {
    const { kind, location, state } = run;
    if (findsDamage(run)) {
      lastDamage = run;
      // What a restore puts there was proven just before: a look beside it was one at what it replaced.
      const replaced = exchanged?.undo && isBeside(run, exchanged) ? undo.get(exchanged.undo) : undefined;
      if (replaced === undefined) now = { ...now, damage: run };
      else undo.set(exchanged!.undo!, { ...replaced, damage: run });
    }
    if (state.status !== 'completed') continue;
    if (kind === 'backup') {
      last = location;
      now = { ...now, base: location, from: undefined };
    } else if (isCleanLook(run)) {
      if (!startedBefore(run, exchanged) && !startedBefore(run, now.damage))
        now = { ...now, damage: undefined };
    } else if (isExchange(run)) {
      const before = undo.get(nameOf(location)) ?? unknown(location);
      if (run.undo !== null) undo.set(run.undo, now);
      exchanged = run;
      if (kind === 'restore') now = { base: location, from: location, damage: undefined };
      else {
        undo.delete(nameOf(location));
        now = { ...before, from: before.from ?? location };
      }
    }
  }
  const inUndo = (name: string) => undo.get(name) ?? unknown(name);
  return { now, inUndo, putBackFrom: now.base === last ? undefined : now.from };
}

/** Whether it began before the other one had ended. */
const startedBefore = (run: RunRecord, other: RunRecord | undefined): boolean =>
  other !== undefined && (run.state.startedAtMs ?? 0) < (other.state.finishedAtMs ?? 0);

/** Whether it is a look that began while the other one ran. Of an earlier beginning a clock that was set back may be the cause. */
const isBeside = (run: RunRecord, other: RunRecord): boolean =>
  run.kind === 'verify' &&
  other.kind === 'restore' &&
  startedBefore(run, other) &&
  (run.state.startedAtMs ?? 0) >= (other.state.startedAtMs ?? 0);

export const isExchange = ({ kind }: RunRecord): boolean => kind === 'restore' || kind === 'undo';

/** A line without which nobody knows what the data directory and its undo folders hold. */
export const tellsContent = (run: RunRecord): boolean =>
  findsDamage(run) || (run.state.status === 'completed' && (isExchange(run) || isCleanLook(run)));

/** Whether it is a finding about the database itself, wherever the directory lay then. */
const findsDamage = ({ kind, location, state: { code } }: RunRecord): boolean =>
  (code === 'SOURCE_DAMAGED' || code === 'DATABASE_DAMAGED') &&
  (SNAPSHOT_KINDS.some((one) => one === kind) || (kind === 'verify' && !isOfSnapshots(location)));

const isCleanLook = ({ kind, location, state }: RunRecord): boolean =>
  kind === 'verify' && state.status === 'completed' && !isOfSnapshots(location);

const isOfSnapshots = (location: string): boolean =>
  isSnapshotPlace(location) || layoutAround(location) !== undefined;
