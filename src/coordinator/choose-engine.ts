import { type Engine, type EngineName, LIFECYCLE } from '../engine/engine.ts';
import { detectEngine, engineByName } from '../engine/index.ts';
import type { FileSystem } from '../env/file-system.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import type { Mode } from '../snapshot/capture/capture.ts';

export type EngineChoice = 'auto' | EngineName | Engine;

/**
 * The engine that captures a data directory. `EMPTY_SOURCE` or `ENGINE_MISMATCH` when there is nothing that it can capture,
 * `INVALID_REQUEST` when it cannot in this mode.
 */
export async function chooseEngine(
  fs: FileSystem,
  dataDir: string,
  choice: EngineChoice,
  mode: Mode,
): Promise<Engine> {
  try {
    const engine = typeof choice === 'object' ? choice : await findEngine(fs, dataDir, choice);
    if (mode === 'copy' || engine.hasImmutableFiles) return engine;
    const message = `mode "link" is not possible with the engine ${engine.name}`;
    throw new StillpointError('INVALID_REQUEST', message, {
      hint: 'It needs files that the engine never changes again; use mode "copy".',
    });
  } catch (error) {
    throw toStillpointError(error);
  }
}

async function findEngine(fs: FileSystem, dataDir: string, choice: 'auto' | EngineName): Promise<Engine> {
  if ((await fs.list(dataDir)).every(({ name }) => name === LIFECYCLE))
    throw new StillpointError('EMPTY_SOURCE', `${dataDir} is empty`, { path: dataDir });
  const found = choice === 'auto' ? await detectEngine(fs, dataDir) : engineByName(choice);
  if (found === undefined) {
    throw new StillpointError('ENGINE_MISMATCH', `${dataDir} is not a data directory of any known engine`, {
      path: dataDir,
      hint: 'Check the path. Other files, while nobody writes to them, are captured with `--engine files` (`engine: "files"`).',
    });
  }
  if (choice !== 'auto' && found.name !== 'files' && !(await found.detect(fs, dataDir))) {
    const message = `${dataDir} is not a data directory of ${found.name}`;
    throw new StillpointError('ENGINE_MISMATCH', message, { path: dataDir });
  }
  return found;
}
