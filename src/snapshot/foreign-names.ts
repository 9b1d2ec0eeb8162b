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
