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
  /** Undo folders, by name. */
  readonly undo: ReadonlyMap<string, Content>;
  /**
   * Where the data directory was brought back from, if what is there does not go back to the last snapshot: that one may hold writes which
   * it lacks.
   */
  readonly putBackFrom: string | undefined;
}

/**
 * Follows what was snapshotted, restored and undone.
 *
 * @param runs Oldest first. Of an undo folder that they say nothing of, the worst is taken: it does not go back to the last snapshot, and
 * what was found damaged last may be in it.
 */
export function lineageOf(runs: readonly RunRecord[]): Lineage {
  let now: Content = { base: undefined, from: undefined, damage: undefined };
  let last: string | undefined;
  let lastDamage: RunRecord | undefined;
  const undo = new Map<string, Content>();
  for (const run of runs) {
    const { kind, location, state } = run;
    if (findsDamage(run)) {
      lastDamage = run;
      now = { ...now, damage: run };
    }
    if (state.status !== 'completed') continue;
    if (kind === 'backup') {
      last = location;
      now = { ...now, base: location, from: undefined };
    } else if (kind === 'verify' && !isOfSnapshots(location)) {
      now = { ...now, damage: undefined };
    } else if (isExchange(run)) {
      const before = undo.get(nameOf(location)) ?? { base: location, from: location, damage: lastDamage };
      if (run.undo !== null) undo.set(run.undo, now);
      if (kind === 'restore') now = { base: location, from: location, damage: undefined };
      else {
        undo.delete(nameOf(location));
        now = { ...before, from: before.from ?? location };
      }
    }
  }
  return { now, undo, putBackFrom: now.base === last ? undefined : now.from };
}

export const isExchange = ({ kind }: RunRecord): boolean => kind === 'restore' || kind === 'undo';

/** Whether it is a finding about the database itself, wherever the directory lay then. */
const findsDamage = ({ kind, location, state: { code } }: RunRecord): boolean =>
  (code === 'SOURCE_DAMAGED' || code === 'DATABASE_DAMAGED') &&
  (kind === 'backup' || (kind === 'verify' && !isOfSnapshots(location)));

const isOfSnapshots = (location: string): boolean =>
  isSnapshotPlace(location) || layoutAround(location) !== undefined;
