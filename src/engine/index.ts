import { basename } from 'node:path';
import { addEngineLockNames } from '../env/engine-locks.ts';
import type { FileSystem } from '../env/file-system.ts';
import { StillpointError } from '../errors.ts';
import type { Engine } from './engine.ts';
import { filesEngine } from './files/index.ts';
import { guardEngine, loadEngineModule } from './foreign-engine.ts';
import { leveldbEngine } from './leveldb/index.ts';
import { lsmEngine } from './lsm/index.ts';
import { partsEngine } from './parts/index.ts';

const BUILT_IN: readonly Engine[] = [lsmEngine, leveldbEngine, partsEngine, filesEngine];

/** The engines that come with the package; `engineNames` has those of `registerEngine` too. */
export const ENGINE_NAMES: readonly string[] = BUILT_IN.map(({ name }) => name);

interface Registration {
  readonly engine: Engine;
  /** Where worker threads find it; the built-in engines are part of their own code. */
  readonly module?: string;
}

const registrations = new Map<string, Registration>(BUILT_IN.map((engine) => [engine.name, { engine }]));

/** All engines of this process: the built-in ones and those of `registerEngine`. */
export const engineNames = (): readonly string[] => [...registrations.keys()];

/**
 * Makes an engine of your own known to this process, by the URL of the module whose default export it is. Coordinators and
 * functions then take its name, find out its folders by themselves, and read its snapshots. Worker threads import the module
 * too, since the engine's `checkFile` runs there; so the module should import little.
 *
 * Resolves to the engine. The same module again changes nothing. `ENGINE_MISSING` when the module cannot be loaded,
 * `ENGINE_INVALID` when its default export is not an engine or has the name of another one, `TypeError` for another argument.
 */
export async function registerEngine(module: URL): Promise<Engine> {
  if (!(module instanceof URL)) throw new TypeError('registerEngine: module must be a URL');
  const { href } = module;
  const engine = guardEngine(await loadEngineModule(href));
  const known = registrations.get(engine.name);
  if (known === undefined) {
    if (engine.lockFile !== undefined) addEngineLockNames([basename(engine.lockFile)]);
    registrations.set(engine.name, { engine, module: href });
    return engine;
  }
  if (known.module === href) return known.engine;
  throw new StillpointError('ENGINE_INVALID', `${href}: there is another engine "${engine.name}" already`, {
    hint: 'Choose another name for the engine.',
  });
}

/** Of the engine of that name, where it is none of the built-in ones. */
export const engineModule = (name: string): string | undefined => registrations.get(name)?.module;

/** The engine of that name; `ENGINE_MISMATCH` when there is none, as in a manifest that another program wrote. */
export function engineByName(name: string): Engine {
  const registration = registrations.get(name);
  if (registration !== undefined) return registration.engine;
  throw new StillpointError(
    'ENGINE_MISMATCH',
    `there is no engine "${name}" (known: ${engineNames().join(', ')})`,
    { hint: 'Call `registerEngine` with the module of that engine first.' },
  );
}

/** The engine in a worker thread, which knows the built-in ones only. See `registerEngine` for what may go wrong. */
export async function engineInThread(name: string, module: string | undefined): Promise<Engine> {
  const engine = module === undefined ? engineByName(name) : await registerEngine(new URL(module));
  if (engine.name === name) return engine;
  throw new StillpointError('ENGINE_INVALID', `${module} holds the engine "${engine.name}", not "${name}"`);
}

/**
 * Which engine wrote a folder, or undefined. `files` and `parts` are never guessed: they fit too much. `ENGINE_MISMATCH` for a folder
 * with the files of two: a snapshot would hold one of them and look like the whole.
 */
export async function detectEngine(fs: FileSystem, dir: string): Promise<Engine | undefined> {
  const found: Engine[] = [];
  for (const { engine } of registrations.values()) if (await engine.detect(fs, dir)) found.push(engine);
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
