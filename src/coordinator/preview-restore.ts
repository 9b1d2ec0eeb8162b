import { dirname, join } from 'node:path';
import type { Engine } from '../engine/engine.ts';
import { detectEngine, engineByName } from '../engine/index.ts';
import type { FileSystem } from '../env/file-system.ts';
import { type Environment, systemEnvironment } from '../snapshot/environment.ts';
import { foreignInside, foreignNames } from '../snapshot/foreign-names.ts';
import { checkExchange, isExchanged, keptNames } from '../snapshot/restore/check-exchange.ts';
import { exchangedAt } from '../snapshot/restore/exchanged.ts';
import { findUndoFolder, outsideOf } from '../snapshot/restore/restore.ts';
import { checkTarget } from '../snapshot/restore/target.ts';
import { DiskCount, filesBelow } from '../snapshot/store/disk-use.ts';
import { keptLayout, refuseBareHome } from '../snapshot/store/home.ts';
import { nameOf } from '../snapshot/store/layout.ts';
import { realFolder } from '../snapshot/store/real-folder.ts';
import type { ListedSnapshot } from '../snapshot/store/standing.ts';
import { refuseOpenDatabase } from './lock-database.ts';
import { translated } from './long-call.ts';

/** What a restore would do. Nothing is changed, and no file is read: whether it succeeds, only the restore itself shows. */
export interface RestorePreview {
  readonly snapshot: ListedSnapshot;
  /** The new folder, or the data directory whose files would be replaced. */
  readonly target: string;
  readonly inPlace: boolean;
  /** In place: the names that move to the undo folder, and what they take on the disk. */
  readonly replaced: readonly string[];
  readonly replacedBytes: number;
  /** In place: what stays where it is, since the engine did not write it; up to a hundred names. */
  readonly leftInPlace: readonly string[];
  /** What lies in a folder of the engine and is not its own: it would move with that. */
  readonly movedAlong: readonly string[];
  /** On the disk of the target. */
  readonly neededBytes: number;
  readonly freeBytes: number;
}

/** Rejects where the restore would: `TARGET_NOT_EMPTY`, `INVALID_REQUEST`. */
export function previewRestoreInto(
  snapshot: ListedSnapshot,
  into: string,
  env: Environment = systemEnvironment,
): Promise<RestorePreview> {
  return translated(async () => {
    const { folder: target } = await checkTarget(env.fs, into, await outsideOf(env.fs, snapshot.location));
    const none = { inPlace: false, replaced: [], replacedBytes: 0, leftInPlace: [], movedAlong: [] };
    return {
      snapshot,
      target,
      ...none,
      ...(await room(env.fs, snapshot, await nearestFolder(env.fs, target))),
    };
  });
}

/** Rejects where the restore would: `PREFLIGHT_REFUSED`, and `CONFLICT` while somebody has the database open. */
export function previewRestoreInPlace(
  snapshot: ListedSnapshot,
  dataDir: string,
  env: Environment = systemEnvironment,
): Promise<RestorePreview> {
  return translated(async () => {
    const { fs } = env;
    const layout = await keptLayout(fs, await realFolder(fs, dataDir));
    await refuseBareHome(fs, layout);
    const target = await realFolder(fs, layout.dataDir);
    const engine = snapshot.engine === null ? undefined : engineByName(snapshot.engine);
    const keep = keptNames(engine);
    await checkExchange(fs, layout, { keep, engine });
    await refuseOpenDatabase(env, target, keep, engine);
    return {
      snapshot,
      target,
      inPlace: true,
      ...(await replacedIn(fs, target, keep, engine)),
      ...(await room(fs, snapshot, target)),
    };
  });
}

/** What an undo would bring back, and what it would replace. Nothing is changed, and no file is read. */
export interface UndoPreview extends Replaced {
  /** The undo folder. */
  readonly from: string;
  /** When its files were replaced, from its name. */
  readonly replacedAtMs: number;
  readonly diskBytes: number;
  readonly target: string;
}

/** Rejects where the undo would: `NOT_FOUND`, `PREFLIGHT_REFUSED`, and `CONFLICT` while somebody has the database open. */
export function previewUndo(
  dataDir: string,
  to: string | undefined,
  env: Environment = systemEnvironment,
): Promise<UndoPreview> {
  return translated(async () => {
    const { fs } = env;
    const layout = await keptLayout(fs, await realFolder(fs, dataDir));
    await refuseBareHome(fs, layout);
    const target = await realFolder(fs, layout.dataDir);
    const from = await findUndoFolder(env, layout, to);
    const { engine, keep } = await exchangedAt(fs, from, () => detectEngine(fs, target));
    await checkExchange(fs, layout, { keep, engine }, from);
    await refuseOpenDatabase(env, target, keep, engine);
    const disk = new DiskCount();
    disk.add(await filesBelow(fs, from));
    return {
      from,
      replacedAtMs: Number(nameOf(from).slice(3).split('-')[0]) * 1000,
      diskBytes: disk.totalBytes,
      target,
      ...(await replacedIn(fs, target, keep, engine)),
    };
  });
}

interface Replaced {
  readonly replaced: readonly string[];
  readonly replacedBytes: number;
  readonly leftInPlace: readonly string[];
  /** What lies in a folder of the engine and is not its own: it would move with that. */
  readonly movedAlong: readonly string[];
}

async function replacedIn(
  fs: FileSystem,
  target: string,
  keep: readonly string[],
  engine: Engine | undefined,
): Promise<Replaced> {
  const disk = new DiskCount();
  const replaced: string[] = [];
  for (const { name, kind } of await fs.list(target)) {
    if (!isExchanged(name, keep, engine)) continue;
    replaced.push(name);
    const stat = kind === 'folder' ? undefined : await fs.inspect(join(target, name));
    disk.add(kind === 'folder' ? await filesBelow(fs, join(target, name)) : stat === undefined ? [] : [stat]);
  }
  return {
    replaced: replaced.sort(),
    replacedBytes: disk.totalBytes,
    leftInPlace: await foreignNames(fs, target, engine),
    movedAlong: await foreignInside(fs, target, engine),
  };
}

async function room(fs: FileSystem, { diskBytes, totalBytes }: ListedSnapshot, folder: string) {
  return { neededBytes: diskBytes ?? totalBytes ?? 0, freeBytes: await fs.freeBytes(folder) };
}

/** The folder of a place that need not exist, or the nearest one above it. */
async function nearestFolder(fs: FileSystem, place: string): Promise<string> {
  for (let at = place; ; at = dirname(at)) {
    if ((await fs.inspect(at))?.kind === 'folder' || dirname(at) === at) return at;
  }
}
