import { join } from 'node:path';
import { engineByName } from '../engine/index.ts';
import type { FileStat } from '../env/file-system.ts';
import { hasPartsOfSecond } from '../env/file-times.ts';
import { walk } from '../env/folder-tree.ts';
import { lineageOf } from '../operation/lineage.ts';
import type { RunRecord } from '../operation/run-record.ts';
import type { Environment } from '../snapshot/environment.ts';
import { type Layout, nameOf } from '../snapshot/store/layout.ts';
import { readManifest } from '../snapshot/store/manifest-file.ts';
import { type UndoStanding, undoFoldersOf } from '../snapshot/store/prune-undo.ts';
import type { ListedSnapshot } from '../snapshot/store/standing.ts';

/** Oldest first. An empty one, of a restore into an empty directory, brings nothing back and is left out. */
export async function undoStandings(
  env: Environment,
  layout: Layout,
  snapshots: readonly ListedSnapshot[],
  runs: readonly RunRecord[],
): Promise<UndoStanding[]> {
  const { inUndo } = lineageOf(runs);
  const standings: UndoStanding[] = [];
  for (const { folder, files } of await undoFoldersOf(env.fs, layout)) {
    if (files.length === 0) continue;
    const mayHoldWrites = !(await isCovered(env, folder.location, files, snapshots, runs));
    const damaged = inUndo(folder.name).damage !== undefined;
    standings.push({ ...folder, mayHoldWrites, damaged });
  }
  return standings;
}

/** The clock of a file system may be so much behind. */
const TICK_MS = 20;

/**
 * An undo folder holds nothing new where no file of it was written to since a snapshot of it began, or since a restore put it there, and
 * that snapshot is good and has each file by its name and size: what was put in with old times is another one.
 */
async function isCovered(
  env: Environment,
  location: string,
  files: readonly FileStat[],
  snapshots: readonly ListedSnapshot[],
  runs: readonly RunRecord[],
): Promise<boolean> {
  // It got its last name in the exchange. Whoever put something into it later made that time another.
  const changedNs = (await env.fs.inspect(location))?.mtimeNs ?? 0n;
  const nameEndsMs = (Number(nameOf(location).slice(3).split('-')[0]) + 1) * 1000;
  const madeAtMs = Math.min(Number(changedNs / 1_000_000n), nameEndsMs);
  const before = runs.findLast(
    ({ kind, state }) =>
      (kind === 'backup' || kind === 'restore' || kind === 'undo') &&
      state.status === 'completed' &&
      (state.finishedAtMs ?? madeAtMs) < madeAtMs,
  );
  const sinceMs = before?.kind === 'restore' ? before.state.finishedAtMs : before?.state.startedAtMs;
  const snapshot = snapshots.find((one) => one.location === before?.location && one.state === 'good');
  // Of other engines a write through a shared mapping may leave no time.
  const isTimed = snapshot?.engine === 'lsm' || snapshot?.engine === 'leveldb';
  return (
    isTimed &&
    sinceMs != null &&
    files.every(
      ({ mtimeNs }) => hasPartsOfSecond(mtimeNs) && Number(mtimeNs / 1_000_000n) + TICK_MS < sinceMs,
    ) &&
    (await hasEachFile(env, snapshot, location))
  );
}

/** False also where that cannot be looked at. Names that the engine owns and that are no part of the state, such as `LOG`, do not count. */
async function hasEachFile(env: Environment, snapshot: ListedSnapshot, folder: string): Promise<boolean> {
  const engine = snapshot.engine === null ? undefined : engineByName(snapshot.engine);
  try {
    const manifest = await readManifest(env, snapshot.location);
    if (manifest === undefined || engine === undefined) return false;
    const sizes = new Map(manifest.entries.map(({ path, size }) => [path, size]));
    const state = new Set(await engine.listFiles(env.fs, folder));
    for await (const { path, kind } of walk(env.fs, folder)) {
      if (kind === 'folder' || (!state.has(path) && engine.ownsName?.(path))) continue;
      const stat = kind === 'file' ? await env.fs.inspect(join(folder, path)) : undefined;
      if (stat === undefined || stat.sizeBytes !== sizes.get(path)) return false;
    }
    return true;
  } catch {
    return false;
  }
}
