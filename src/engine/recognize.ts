import type { FileSystem } from '../env/file-system.ts';
import { StillpointError } from '../errors.ts';
import type { Engine } from './engine.ts';
import { detectEngine, engineByName } from './index.ts';
import { holdsDatabases } from './parts/find-parts.ts';

/**
 * The engine of a data directory that a user named: the one that wrote it, or `parts` where nothing at its root is an engine's and databases
 * lie below. Undefined for other folders, and never `files`.
 */
export async function recognizeEngine(fs: FileSystem, dir: string): Promise<Engine | undefined> {
  const detected = await detectEngine(fs, dir);
  if (detected !== undefined) return detected;
  const names = (await fs.list(dir)).map(({ name }) => name);
  return !isRocksdb(names) && (await holdsDatabases(fs, dir)) ? engineByName('parts') : undefined;
}

/**
 * The named engine, where the folder holds any file of it. The caller's word goes for the rest: a database with files of something
 * else beside it, or without some of its own, is not detected. `ENGINE_MISMATCH` when there is none.
 */
export async function believed(engine: Engine, fs: FileSystem, dir: string): Promise<Engine> {
  if (engine.name === 'files' || (await engine.detect(fs, dir))) return engine;
  if ((await engine.listFiles(fs, dir)).length > 0) return engine;
  throw new StillpointError('ENGINE_MISMATCH', `${dir} is not a data directory of ${engine.name}`, {
    path: dir,
  });
}

/** `ENGINE_MISMATCH` for a folder of which no engine knows anything. `files` says what `--engine files` does here. */
export async function unknownFolder(fs: FileSystem, dir: string, files: string): Promise<StillpointError> {
  const names = (await fs.list(dir)).map(({ name }) => name);
  if (isRocksdb(names)) {
    return new StillpointError(
      'ENGINE_MISMATCH',
      `${dir} is a database of RocksDB, which this program cannot read`,
      {
        path: dir,
        hint: `Take a checkpoint of it with RocksDB's own \`ldb checkpoint\`. Is it LevelDB all the same, say so: \`--engine leveldb\`. ${files}`,
      },
    );
  }
  return new StillpointError('ENGINE_MISMATCH', `${dir} is not a data directory of any known engine`, {
    path: dir,
    hint: `Check the path. ${files}`,
  });
}

// It names its files as LevelDB does, and has two of its own. Older versions have neither, and read as LevelDB.
const isRocksdb = (names: readonly string[]): boolean =>
  names.includes('CURRENT') && names.some((name) => /^(IDENTITY|OPTIONS-\d+)$/.test(name));
