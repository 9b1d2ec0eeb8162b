import { dirname, join } from 'node:path';
import type { FileStat, FileSystem } from '../env/file-system.ts';
import { hasPartsOfSecond } from '../env/file-times.ts';
import { lineageOf } from '../operation/lineage.ts';
import type { RunRecord } from '../operation/run-record.ts';
import type { Environment } from '../snapshot/environment.ts';
import { compareNames, type Layout, nameOf } from '../snapshot/store/layout.ts';
import { type UndoStanding, undoFoldersOf } from '../snapshot/store/prune-undo.ts';
import type { ListedSnapshot } from '../snapshot/store/standing.ts';

/** Oldest first. An empty one, of a restore into an empty directory, brings nothing back and is left out. */
export async function undoStandings(
  { fs }: Environment,
  layout: Layout,
  snapshots: readonly ListedSnapshot[],
  runs: readonly RunRecord[],
): Promise<UndoStanding[]> {
  const { undo } = lineageOf(runs);
  const standings: UndoStanding[] = [];
  for (const { folder, files } of await undoFoldersOf(fs, layout)) {
    if (files.length === 0) continue;
    const mayHoldWrites = !(await isCovered(fs, layout, folder.name, files, snapshots, runs));
    const damaged = undo.get(folder.name)?.damage !== undefined;
    standings.push({ ...folder, mayHoldWrites, damaged });
  }
  return standings;
}

/** The clock of a file system may be so much behind. */
const TICK_MS = 20;

/**
 * An undo folder holds nothing new where no file of it was written to since a snapshot of it began, or since a restore put it there, and
 * that snapshot is good, or was removed and newer good ones have what it had.
 */
async function isCovered(
  fs: FileSystem,
  layout: Layout,
  name: string,
  files: readonly FileStat[],
  snapshots: readonly ListedSnapshot[],
  runs: readonly RunRecord[],
): Promise<boolean> {
  // It got its last name in the exchange. Whoever put something into it later made that time another.
  const changedNs = (await fs.inspect(join(layout.undo, name)))?.mtimeNs ?? 0n;
  const nameEndsMs = (Number(name.slice(3).split('-')[0]) + 1) * 1000;
  const madeAtMs = Math.min(Number(changedNs / 1_000_000n), nameEndsMs);
  const before = runs.findLast(
    ({ kind, state }) =>
      (kind === 'backup' || kind === 'restore' || kind === 'undo') &&
      state.status === 'completed' &&
      (state.finishedAtMs ?? madeAtMs) < madeAtMs,
  );
  const sinceMs = before?.kind === 'restore' ? before.state.finishedAtMs : before?.state.startedAtMs;
  const engine = before && coveringEngine(layout, before.location, snapshots);
  // Of other engines a write through a shared mapping may leave no time.
  const isTimed = engine === 'lsm' || engine === 'leveldb';
  return (
    isTimed &&
    sinceMs != null &&
    files.every(
      ({ mtimeNs }) => hasPartsOfSecond(mtimeNs) && Number(mtimeNs / 1_000_000n) + TICK_MS < sinceMs,
    )
  );
}

/** The engine of the snapshot at `location`, or of the one that has taken its place; undefined where neither is good. */
function coveringEngine(
  { backup }: Layout,
  location: string,
  snapshots: readonly ListedSnapshot[],
): string | null | undefined {
  const same = snapshots.find((one) => one.location === location);
  if (same !== undefined) return same.state === 'good' ? same.engine : undefined;
  // Pruning removes none whose writes no newer one has.
  if (dirname(location) !== backup) return undefined;
  const newer = ({ name, state }: ListedSnapshot) =>
    state === 'good' && compareNames(name, nameOf(location)) > 0;
  return snapshots.findLast(newer)?.engine;
}
