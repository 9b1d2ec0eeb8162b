import * as z from 'zod/mini';
import { type Engine, type EngineName, NOT_OF_THE_DATABASE } from '../engine/engine.ts';
import { engineByName, engineNames } from '../engine/index.ts';
import { believed, recognizeEngine, unknownFolder } from '../engine/recognize.ts';
import type { FileSystem } from '../env/file-system.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import type { Mode } from '../options/choices.ts';
import { withDefault } from '../options/option.ts';
import { hasMethods } from '../options/values.ts';

export type EngineChoice = 'auto' | EngineName | Engine;

/** Names may be registered at any time, so the list is made when it is needed. */
const choices = (): string => ['auto', ...engineNames()].join(', ');

const isKnown = (name: string): boolean => engineNames().includes(name);

/** The name of an engine of this process. */
export const engineName = () => {
  const error = () => `must be one of ${engineNames().join(', ')}`;
  return z.string({ error }).check(z.refine((name) => isKnown(name), { error }));
};

/** @param auto What `auto` goes by. */
export const engineNameOption = (auto: string) => {
  const error = () => `must be one of ${choices()}`;
  const schema = z.string({ error }).check(z.refine((name) => name === 'auto' || isKnown(name), { error }));
  const description = `The engine that wrote the files; \`auto\`: ${auto}.`;
  return withDefault(schema, () => 'auto', { description });
};

/** The same, where the engine can be one of your own. */
export const engineOption = (auto: string) =>
  withDefault(
    z.custom<EngineChoice>(isEngineChoice, { error: () => `must be one of ${choices()}, or an Engine` }),
    () => 'auto',
    { description: `The engine that wrote the files; \`auto\`: ${auto}. A name, or an Engine.` },
  );

const METHODS = ['detect', 'plan', 'listFiles', 'checkFile', 'checkConsistency'];

function isEngineChoice(value: unknown): boolean {
  if (typeof value === 'string') return value === 'auto' || isKnown(value);
  return hasMethods(value, METHODS) && isKnown((value as Engine).name);
}

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
      hint: 'It needs files that the engine never changes again; use mode "copy"; `backup run` without `--no-local`.',
    });
  } catch (error) {
    throw toStillpointError(error);
  }
}

const FILES =
  'Other files, while nobody writes to them, are captured with `--engine files` (`engine: "files"`).';

async function findEngine(fs: FileSystem, dataDir: string, choice: 'auto' | EngineName): Promise<Engine> {
  if ((await fs.list(dataDir)).every(({ name }) => NOT_OF_THE_DATABASE.includes(name)))
    throw new StillpointError('EMPTY_SOURCE', `${dataDir} is empty`, { path: dataDir });
  const found = choice === 'auto' ? await recognizeEngine(fs, dataDir) : engineByName(choice);
  if (found === undefined) throw await unknownFolder(fs, dataDir, FILES);
  return choice === 'auto' ? found : believed(found, fs, dataDir);
}
