import { detectEngine } from '../engine/index.ts';
import type { FileSystem } from '../env/file-system.ts';
import { StillpointError } from '../errors.ts';
import { parseFileName } from '../format/leveldb/file-name.ts';
import { checkArgument, OptionSet, type OptionsOf, required } from '../options/option.ts';
import { folder } from '../options/values.ts';
import { type Salvaged, salvageInto } from '../salvage/salvage.ts';
import { environmentOption, systemEnvironment } from '../snapshot/environment.ts';
import { realFolder } from '../snapshot/store/real-folder.ts';
import { watched, watchFields } from './long-call.ts';

export const salvageOptions = new OptionSet(() => ({
  into: required(folder(), {
    description: 'A new folder for what can be read: it must not exist or be empty.',
    flag: { value: 'dir' },
  }),
  ...watchFields(),
  environment: environmentOption(),
}));
export type SalvageOptions = OptionsOf<typeof salvageOptions>;

/**
 * Reads all that a damaged LevelDB still says, and writes it into a new one, which is proven; the package `classic-level` must be
 * installed. The source is never changed; close it first. `lost` tells what could not be read. Rejects with `ENGINE_MISMATCH` where
 * no LevelDB is, `TARGET_NOT_EMPTY`, `ENGINE_MISSING`.
 *
 * ```ts
 * const { complete, entries, lost } = await salvageDatabase('./data', { into: './salvaged' });
 * ```
 */
export async function salvageDatabase(dir: string, options: SalvageOptions): Promise<Salvaged> {
  checkArgument('salvageDatabase: dir', folder(), dir);
  const {
    environment = systemEnvironment,
    into,
    ...watching
  } = salvageOptions.resolve('salvageDatabase', options);
  return watched(environment, watching, async (env, control, watch) => {
    const source = await realFolder(env.fs, dir);
    await requireLeveldb(env.fs, source);
    return salvageInto(env, source, into, control, watch);
  });
}

/** `CURRENT` and every MANIFEST may be gone: tables and logs are enough. */
async function requireLeveldb(fs: FileSystem, dir: string): Promise<void> {
  const engine = await detectEngine(fs, dir);
  const names = (await fs.list(dir)).map(({ name }) => name);
  const hasData = names.some((name) => ['table', 'log'].includes(parseFileName(name)?.kind ?? ''));
  const isRocksDb = names.some((name) => /^(IDENTITY|OPTIONS-\d+)$/.test(name));
  if (hasData && !isRocksDb && (engine === undefined || engine.name === 'leveldb')) return;
  const what = isRocksDb ? 'a RocksDB' : engine === undefined ? 'no LevelDB' : `a database of ${engine.name}`;
  throw new StillpointError('ENGINE_MISMATCH', `${dir} holds ${what}, and only LevelDB can be salvaged`, {
    path: dir,
    hint: 'Name the folder with the tables (`*.ldb`) and logs (`*.log`) of a LevelDB.',
  });
}
