import type { FileSystem } from '../env/file-system.ts';
import { StillpointError } from '../errors.ts';
import type { Engine, EngineName } from './engine.ts';
import { filesEngine } from './files/index.ts';
import { leveldbEngine } from './leveldb/index.ts';
import { lsmEngine } from './lsm/index.ts';

const ENGINES: Readonly<Record<EngineName, Engine>> = {
  lsm: lsmEngine,
  leveldb: leveldbEngine,
  files: filesEngine,
};

export const ENGINE_NAMES = Object.keys(ENGINES) as readonly EngineName[];

export const isEngineName = (name: string): name is EngineName => Object.hasOwn(ENGINES, name);

/** The engine of that name; `ENGINE_MISMATCH` when there is none, as in a manifest from a newer version. */
export function engineByName(name: string): Engine {
  if (isEngineName(name)) return ENGINES[name];
  throw new StillpointError(
    'ENGINE_MISMATCH',
    `there is no engine "${name}" (known: ${ENGINE_NAMES.join(', ')})`,
  );
}

/**
 * Which engine wrote a folder, or undefined. `files` is never guessed: it fits everything. `ENGINE_MISMATCH` for a folder
 * with the files of two: a snapshot would hold one of them and look like the whole.
 */
export async function detectEngine(fs: FileSystem, dir: string): Promise<Engine | undefined> {
  const found: Engine[] = [];
  for (const engine of Object.values(ENGINES)) if (await engine.detect(fs, dir)) found.push(engine);
  if (found.length < 2) return found[0];
  throw new StillpointError(
    'ENGINE_MISMATCH',
    `${dir} holds files of ${found.map(({ name }) => name).join(' and ')}`,
    {
      path: dir,
      hint: 'Move the files of one of them out, or choose the engine with `--engine`.',
    },
  );
}
