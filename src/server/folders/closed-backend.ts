import { detectEngine } from '../../engine/index.ts';
import { realPlace } from '../../env/io.ts';
import { StillpointError } from '../../errors.ts';
import type { Environment } from '../../snapshot/environment.ts';
import { keptLayout } from '../../snapshot/store/home.ts';
import { listSnapshotFolders } from '../../snapshot/store/list.ts';
import type { Backend } from '../database.ts';

/**
 * For a data directory whose database is closed, or open in another process: it is never opened here. Its snapshots are made from
 * outside; a restore takes the database's own lock first, and is refused while somebody has it.
 */
export async function closedBackend(environment: Environment, dataDir: string): Promise<Backend> {
  const engine = await engineOf(environment, dataDir);
  const refuse = async (): Promise<never> => {
    throw new StillpointError('UNAVAILABLE', `the database in ${dataDir} is not open here`, {
      path: dataDir,
    });
  };
  return {
    engine,
    open: async () => ({
      get: refuse,
      write: refuse,
      iterate() {
        throw new StillpointError('UNAVAILABLE', `the database in ${dataDir} is not open here`, {
          path: dataDir,
        });
      },
      entriesReplayed: null,
      close: async () => {},
    }),
  };
}

/** That of the files; of a folder without any, that of its newest snapshot. */
async function engineOf(environment: Environment, dataDir: string): Promise<string> {
  const { fs } = environment;
  const place = await realPlace(fs, dataDir);
  if ((await fs.inspect(place)) === undefined)
    throw new StillpointError('NOT_FOUND', `there is no folder ${dataDir}`, { path: dataDir });
  const detected = await detectEngine(fs, place);
  if (detected !== undefined) return detected.name;
  const snapshots = await listSnapshotFolders(environment, await keptLayout(fs, place));
  const known = snapshots.map(({ engine }) => engine).filter((engine) => engine !== null);
  const newest = known.at(-1);
  if (newest !== undefined) return newest;
  throw new StillpointError(
    'ENGINE_MISMATCH',
    `${dataDir} is no data directory: it holds neither snapshots nor files of a known engine`,
    { path: dataDir, hint: 'Check the path.' },
  );
}
