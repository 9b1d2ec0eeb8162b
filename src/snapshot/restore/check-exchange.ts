import { dirname, join } from 'node:path';
import { type Engine, NOT_OF_THE_DATABASE } from '../../engine/engine.ts';
import type { FileKind, FileSystem } from '../../env/file-system.ts';
import { mountPoints, refusalOfMove, refusalOfWrites } from '../../env/obstacles.ts';
import { StillpointError } from '../../errors.ts';
import { type Layout, ownLayout } from '../store/layout.ts';
import { notesFolder } from '../store/undo-note.ts';
import { nestedDatabases } from './nested-databases.ts';

/**
 * Rejects with `PREFLIGHT_REFUSED` when files of a data directory cannot be moved: to be known before the database is closed. Changes
 * nothing.
 *
 * @param keep Names at the root that are not moved.
 * @param from The undo folder whose files are to come back, where it is one.
 */
export async function checkExchange(
  fs: FileSystem,
  layout: Layout,
  { keep, engine }: Exchanged,
  from?: string,
): Promise<void> {
  const { dataDir, lifecycle } = ownLayout(layout);
  const mounts = await mountPoints();
  const sources = from === undefined ? [dataDir] : [dataDir, from];
  for (const folder of [lifecycle, layout.restore, layout.undo, notesFolder(layout.undo), ...sources]) {
    const isElsewhere = mounts?.has(folder) === true || (await isOnOtherDevice(fs, folder));
    if (isElsewhere && folder !== dataDir)
      throw immovable(folder, 'is a mount of its own, so no file can be moved there', UNMOUNT);
    const code = await refusalOfWrites(folder);
    if (code !== undefined && code !== 'ENOENT')
      throw immovable(folder, `takes no change (${code})`, code === 'EPERM' ? IMMUTABLE : OWNER);
  }
  await refuseNestedLifecycles(fs, dataDir, keep, engine);
  for (const folder of sources) {
    for (const { name, kind } of await fs.list(folder)) {
      if (folder === dataDir && !isExchanged(name, keep, engine)) continue;
      await checkMove(fs, join(folder, name), kind, mounts, lifecycle);
    }
  }
}

/** @param occupied A folder that is not empty. */
async function checkMove(
  fs: FileSystem,
  path: string,
  kind: FileKind,
  mounts: ReadonlySet<string> | undefined,
  occupied: string,
): Promise<void> {
  const isMount = mounts?.has(path) ?? (kind === 'folder' && (await isOnOtherDevice(fs, path)));
  if (isMount) throw immovable(path, 'is a mount point and cannot be moved', UNMOUNT);
  const code = (await refusalOfWrites(path)) ?? (await refusalOfMove(path, occupied));
  if (code === 'EPERM') throw immovable(path, 'is immutable, or may only be appended to', IMMUTABLE);
  if (code === 'EXDEV') throw immovable(path, 'lies in a lower layer of overlayfs', LOWER_LAYER);
  // A folder that moves gets another parent, which is written into it.
  if (code === 'EACCES' && kind === 'folder') throw immovable(path, `takes no change (${code})`, OWNER);
}

/** Snapshots of a database that is one of the files would move away with it, and go with the undo folder. */
async function refuseNestedLifecycles(
  fs: FileSystem,
  dataDir: string,
  keep: readonly string[],
  engine: Engine | undefined,
): Promise<void> {
  if (engine?.ownsName !== undefined) return;
  const isMoved = (name: string): boolean => isExchanged(name, keep, engine);
  const [first] = (await nestedDatabases(fs, dataDir, isMoved)).lifecycles;
  if (first === undefined) return;
  const hint = `Restore into another folder with \`--into DIR\`, or move ${join(dataDir, first)} elsewhere first.`;
  throw immovable(join(dataDir, first), 'holds snapshots of their own, and would be moved away', hint);
}

/** Whether a restore in place moves a name at the root of the data directory. */
export const isExchanged = (name: string, keep: readonly string[], engine: Engine | undefined): boolean =>
  !NOT_OF_THE_DATABASE.includes(name) && !keep.includes(name) && (engine?.ownsName?.(name) ?? true);

/** What an exchange moves: the names of the engine, or all where there is none or it does not say which are its own; without `keep`. */
export interface Exchanged {
  readonly engine: Engine | undefined;
  readonly keep: readonly string[];
}

/** The engine's lock is taken, and so stays, while its files are exchanged. */
export const keptNames = (engine: Engine | undefined): string[] =>
  engine?.lockFile === undefined ? [] : [engine.lockFile];

/** Whether a folder lies on another device than its parent. */
async function isOnOtherDevice(fs: FileSystem, folder: string): Promise<boolean> {
  const [own, parent] = [await fs.inspect(folder), await fs.inspect(dirname(folder))];
  return own !== undefined && own.dev !== parent?.dev;
}

const UNMOUNT = 'Unmount it, or restore into another folder with `--into DIR` and put that in its place.';
const IMMUTABLE = 'Make it changeable (`chattr -ia`), then restore again.';
const LOWER_LAYER =
  'Restore into another folder with `--into DIR`, or replace it by a copy of itself while the database is closed: `cp -a`, `rm -r`, `mv`.';
const OWNER = 'Restore as the user that owns it.';

const immovable = (path: string, why: string, hint: string): StillpointError =>
  new StillpointError('PREFLIGHT_REFUSED', `a restore in place is not possible: ${path} ${why}`, {
    path,
    hint,
  });

/** Whether a folder is the root of a mount, which cannot be replaced by renaming another onto it. */
export async function isMountPoint(fs: FileSystem, folder: string): Promise<boolean> {
  return (await mountPoints())?.has(folder) === true || (await isOnOtherDevice(fs, folder));
}
