import { dirname, join } from 'node:path';
import { NOT_OF_THE_DATABASE } from '../engine/engine.ts';
import { engineByName } from '../engine/index.ts';
import type { FileSystem } from '../env/file-system.ts';
import { realPlace } from '../env/io.ts';
import { type Environment, systemEnvironment } from '../snapshot/environment.ts';
import { foreignNames } from '../snapshot/foreign-names.ts';
import { DiskCount, filesBelow } from '../snapshot/store/disk-use.ts';
import { realFolder } from '../snapshot/store/real-folder.ts';
import type { ListedSnapshot } from '../snapshot/store/standing.ts';
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
  /** On the disk of the target. */
  readonly neededBytes: number;
  readonly freeBytes: number;
}

export function previewRestoreInto(
  snapshot: ListedSnapshot,
  into: string,
  env: Environment = systemEnvironment,
): Promise<RestorePreview> {
  return translated(async () => {
    const target = await realPlace(env.fs, into);
    const none = { inPlace: false, replaced: [], replacedBytes: 0, leftInPlace: [] };
    return {
      snapshot,
      target,
      ...none,
      ...(await room(env.fs, snapshot, await nearestFolder(env.fs, target))),
    };
  });
}

export function previewRestoreInPlace(
  snapshot: ListedSnapshot,
  dataDir: string,
  env: Environment = systemEnvironment,
): Promise<RestorePreview> {
  return translated(async () => {
    const { fs } = env;
    const target = await realFolder(fs, dataDir);
    const engine = snapshot.engine === null ? undefined : engineByName(snapshot.engine);
    const leftInPlace = await foreignNames(fs, target, engine);
    const stays = new Set([
      ...NOT_OF_THE_DATABASE,
      ...(engine?.lockFile === undefined ? [] : [engine.lockFile]),
    ]);
    const owns = (name: string) => engine?.ownsName === undefined || engine.ownsName(name);
    const disk = new DiskCount();
    const replaced: string[] = [];
    for (const { name, kind } of await fs.list(target)) {
      if (stays.has(name) || !owns(name)) continue;
      replaced.push(name);
      const stat = kind === 'folder' ? undefined : await fs.inspect(join(target, name));
      disk.add(
        kind === 'folder' ? await filesBelow(fs, join(target, name)) : stat === undefined ? [] : [stat],
      );
    }
    return {
      snapshot,
      target,
      inPlace: true,
      replaced: replaced.sort(),
      replacedBytes: disk.totalBytes,
      leftInPlace,
      ...(await room(fs, snapshot, target)),
    };
  });
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
