import { join } from 'node:path';
import type { FileStat, FileSystem } from '../env/file-system.ts';
import { hasPartsOfSecond } from '../env/file-times.ts';
import type { Lineage } from '../operation/lineage.ts';
import type { RunRecord } from '../operation/run-record.ts';
import type { Environment } from '../snapshot/environment.ts';
import type { Layout } from '../snapshot/store/layout.ts';
import { type UndoFolder, undoFoldersOf } from '../snapshot/store/prune-undo.ts';
import type { ListedSnapshot } from '../snapshot/store/standing.ts';

/** What a restore in place replaced, and what would be lost with it. */
export interface UndoStanding extends UndoFolder {
  /** It may hold writes that no snapshot has. */
  readonly mayHoldWrites: boolean;
  /** What lies in it was found damaged. */
  readonly damaged: boolean;
}

/** Oldest first. An empty one, of a restore into an empty directory, brings nothing back and is left out. */
export async function undoStandings(
  { fs }: Environment,
  layout: Layout,
  { undo }: Lineage,
  snapshots: readonly ListedSnapshot[],
  runs: readonly RunRecord[],
): Promise<UndoStanding[]> {
  const good = new Map(
    snapshots.filter(({ state }) => state === 'good').map((one) => [one.location, one.engine]),
  );
  const standings: UndoStanding[] = [];
  for (const { folder, files } of await undoFoldersOf(fs, layout)) {
    if (files.length === 0) continue;
    const mayHoldWrites = !(await isCovered(fs, layout, folder.name, files, good, runs));
    const damaged = undo.get(folder.name)?.damage !== undefined;
    standings.push({ ...folder, mayHoldWrites, damaged });
  }
  return standings;
}

/** The clock of a file system may be so much behind. */
const TICK_MS = 20;

/**
 * An undo folder holds nothing new where no file of it was written to since a snapshot of it began, or since a restore put it there, and
 * that snapshot is good.
 */
async function isCovered(
  fs: FileSystem,
  layout: Layout,
  name: string,
  files: readonly FileStat[],
  good: ReadonlyMap<string, string | null>,
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
  const engine = before && good.get(before.location);
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
