import { basename } from 'node:path';
import { engineByName, engineNames } from '../../engine/index.ts';
import { nestedLifecycles } from '../../engine/nested-lifecycles.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { walk } from '../../env/folder-tree.ts';

/** Databases of their own among files that an exchange would move. */
export interface NestedDatabases {
  /** Their lock files, relative to the data directory. */
  readonly locks: readonly string[];
  /** Their lifecycle folders, with snapshots of them. */
  readonly lifecycles: readonly string[];
}

/** @param isMoved Whether a name at the root is one of those files. */
export async function nestedDatabases(
  fs: FileSystem,
  dataDir: string,
  isMoved: (name: string) => boolean,
): Promise<NestedDatabases> {
  const lockFiles = new Set(engineNames().flatMap((name) => engineByName(name).lockFile ?? []));
  const stays = (await fs.list(dataDir)).map(({ name }) => name).filter((name) => !isMoved(name));
  const files: string[] = [];
  for await (const { path, kind } of walk(fs, dataDir, stays)) if (kind === 'file') files.push(path);
  const lifecycles = nestedLifecycles(files);
  const locks = files.filter(
    (path) => lockFiles.has(basename(path)) && !lifecycles.some((folder) => path.startsWith(`${folder}/`)),
  );
  return { locks: locks.sort(), lifecycles };
}
