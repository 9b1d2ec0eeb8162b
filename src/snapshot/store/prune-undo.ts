import { join } from 'node:path';
import type { FileStat, FileSystem } from '../../env/file-system.ts';
import { removeTree } from '../../env/io.ts';
import type { Environment } from '../environment.ts';
import { bytesFreed, filesBelow } from './disk-use.ts';
import { compareNames, deletedFolder, type Layout } from './layout.ts';
import { snapshotNames } from './list.ts';
import { requireExpected } from './prune.ts';
import { withReserve } from './reserve.ts';
import { removeUndoNote } from './undo-note.ts';

/** A folder with what a restore in place replaced. */
export interface UndoFolder {
  readonly name: string;
  readonly location: string;
  /** From its name. */
  readonly createdAtMs: number;
  readonly diskBytes: number;
}

/** What would be lost with an undo folder. */
export interface UndoStanding extends UndoFolder {
  /** It may hold writes that no snapshot has. */
  readonly mayHoldWrites: boolean;
  /** What lies in it was found damaged. */
  readonly damaged: boolean;
}

export interface PruneUndoResult {
  readonly removed: readonly UndoStanding[];
  /** Oldest first; `undo` brings the last of them back. */
  readonly kept: readonly UndoStanding[];
  readonly freedBytes: number;
}

/** All undo folders, oldest first, with the files in them. */
export async function undoFoldersOf(
  fs: FileSystem,
  layout: Layout,
): Promise<{ readonly folder: UndoFolder; readonly files: readonly FileStat[] }[]> {
  const folders: { folder: UndoFolder; files: readonly FileStat[] }[] = [];
  for (const name of (await snapshotNames(fs, layout.undo)).sort(compareNames)) {
    const location = join(layout.undo, name);
    const files = await filesBelow(fs, location);
    const diskBytes = files.reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0);
    const createdAtMs = Number(name.slice(3).split('-')[0]) * 1000;
    folders.push({ folder: { name, location, createdAtMs, diskBytes }, files });
  }
  return folders;
}

/**
 * Removes all undo folders but the newest `keep`, and but those that may hold writes, unless they are discarded. The caller holds the
 * lifecycle lock and no restore is unfinished, so none of them is needed for one. First the name goes, then the content: nobody sees half
 * of a folder.
 *
 * @param standings Of all folders that have files.
 */
export async function pruneUndo(
  env: Environment,
  layout: Layout,
  standings: readonly UndoStanding[],
  {
    keep,
    dryRun,
    discardWrites,
    expected,
  }: { keep: number; dryRun: boolean; discardWrites: boolean; expected?: readonly string[] | undefined },
): Promise<PruneUndoResult> {
  const { fs } = env;
  const known = new Map(standings.map((standing) => [standing.name, standing]));
  const folders = (await undoFoldersOf(fs, layout)).map(({ folder, files }) => ({
    // An empty one brings nothing back: it was left by a crash, or by a restore into an empty directory.
    folder: known.get(folder.name) ?? { ...folder, mayHoldWrites: files.length > 0, damaged: false },
    files,
  }));
  const full = folders.filter(({ files }) => files.length > 0);
  const newest = new Set(keep === 0 ? [] : full.slice(-keep));
  const stays = (each: (typeof folders)[number]) =>
    newest.has(each) || (each.folder.mayHoldWrites && !discardWrites);
  const doomed = folders.filter((each) => !stays(each));
  requireExpected(
    doomed.map(({ folder }) => folder),
    expected,
  );
  if (!dryRun) {
    for (const { folder } of doomed) {
      const target = deletedFolder(layout.undo, folder.name);
      await removeTree(fs, target);
      await withReserve(fs, layout, () => fs.rename(folder.location, target));
      await removeUndoNote(fs, folder.location);
      await fs.syncFolder(layout.undo);
      await removeTree(fs, target);
    }
  }
  return {
    removed: doomed.map(({ folder }) => folder),
    kept: folders.filter(stays).map(({ folder }) => folder),
    freedBytes: bytesFreed(doomed.flatMap(({ files }) => files)),
  };
}
