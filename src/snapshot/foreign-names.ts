import { join } from 'node:path';
import { type Engine, NOT_OF_THE_DATABASE } from '../engine/engine.ts';
import type { FileSystem } from '../env/file-system.ts';

const NAMES_TOLD = 100;

/** The names at the root of a data directory that are not the engine's: up to a hundred, sorted. */
export async function foreignNames(
  fs: FileSystem,
  dataDir: string,
  engine: Engine | undefined,
): Promise<string[]> {
  if (engine?.ownsName === undefined) return [];
  const names = (await fs.list(dataDir)).map(({ name }) => name);
  return names
    .filter((name) => !NOT_OF_THE_DATABASE.includes(name) && !engine.ownsName!(name))
    .sort()
    .slice(0, NAMES_TOLD);
}

/** What lies in the engine's folders in `dir` and is not its own, with `/`: up to a hundred, sorted. It moves with the folder. */
export async function foreignInside(
  fs: FileSystem,
  dir: string,
  engine: Engine | undefined,
): Promise<string[]> {
  if (engine?.ownsName === undefined || engine.ownsInside === undefined) return [];
  const found: string[] = [];
  for (const { name: folder, kind } of await fs.list(dir)) {
    if (kind !== 'folder' || !engine.ownsName(folder)) continue;
    for (const { name } of await fs.list(join(dir, folder)))
      if (!engine.ownsInside(`${folder}/${name}`)) found.push(`${folder}/${name}`);
  }
  return found.sort().slice(0, NAMES_TOLD);
}
