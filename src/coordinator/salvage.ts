import { detectEngine } from '../engine/index.ts';
import type { FileSystem } from '../env/file-system.ts';
import { StillpointError } from '../errors.ts';
import { checkArgument, OptionSet, type OptionsOf, optional, required } from '../options/option.ts';
import { folder, oneOf } from '../options/values.ts';
import { leveldbSalvager } from '../salvage/leveldb.ts';
import { lsmSalvager } from '../salvage/lsm.ts';
import { type Salvaged, salvageInto } from '../salvage/salvage.ts';
import type { Salvager } from '../salvage/source.ts';
import { environmentOption, systemEnvironment } from '../snapshot/environment.ts';
import { realFolder } from '../snapshot/store/real-folder.ts';
import { watched, watchFields } from './long-call.ts';

const SALVAGERS = { leveldb: leveldbSalvager, lsm: lsmSalvager } as const;

export const salvageOptions = new OptionSet(() => ({
  into: required(folder(), {
    description: 'A new folder for what can be read: it must not exist or be empty.',
    flag: { value: 'dir' },
  }),
  doubtful: optional(folder(), {
    description:
      'A new folder for a second database: rows that were read where a checksum does not hold, and that the first one lacks or has in an older version. They may be wrong.',
    without: 'such rows are lost',
    flag: { value: 'dir' },
  }),
  engine: optional(oneOf(['leveldb', 'lsm'] as const), {
    description: 'The engine that wrote the folder.',
    without: 'what the names in the folder look like',
  }),
  ...watchFields(),
  environment: environmentOption(),
}));
export type SalvageOptions = OptionsOf<typeof salvageOptions>;

/**
 * Reads all that a damaged database still says, and writes it into a new one, which is proven; for LevelDB the package `classic-level`
 * must be installed. The source is never changed; close it first. `lost` tells what could not be read. A folder of `lsm` has no list of its
 * tables: one that is missing altogether is not noticed. Rejects with `ENGINE_MISMATCH` where no LevelDB and no lsm database is,
 * `TARGET_NOT_EMPTY`, `ENGINE_MISSING`.
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
    doubtful,
    engine,
    ...watching
  } = salvageOptions.resolve('salvageDatabase', options);
  return watched(environment, watching, async (env, control, watch) => {
    const source = await realFolder(env.fs, dir);
    const salvager = engine === undefined ? await salvagerFor(env.fs, source) : SALVAGERS[engine]();
    return salvageInto(env, salvager, source, { into, doubtful }, control, watch);
  });
}

/** By names where the content does not say it any more: tables and logs are enough. */
async function salvagerFor(fs: FileSystem, dir: string): Promise<Salvager> {
  const detected = await detectEngine(fs, dir).catch((error) => {
    if (error instanceof StillpointError) throw error;
    return undefined; // the disk does not say
  });
  const salvagers = Object.values(SALVAGERS).map((make) => make());
  const ofName = salvagers.find(({ engine }) => engine.name === detected?.name);
  if (ofName !== undefined) return ofName;
  const names = (await fs.list(dir)).map(({ name }) => name);
  const isRocksDb = names.some((name) => /^(IDENTITY|OPTIONS-\d+)$/.test(name));
  if (detected === undefined && !isRocksDb) {
    const found: Salvager[] = [];
    for (const salvager of salvagers) if ((await salvager.list(fs, dir)).length > 0) found.push(salvager);
    if (found.length === 1) return found[0]!;
  }
  const what = isRocksDb ? 'a RocksDB' : (detected && `a database of ${detected.name}`) || 'no database';
  throw new StillpointError(
    'ENGINE_MISMATCH',
    `${dir} holds ${what}, and only databases of LevelDB and lsm can be salvaged`,
    {
      path: dir,
      hint: 'Name the folder with the tables and logs themselves, or choose the engine with `--engine`.',
    },
  );
}
