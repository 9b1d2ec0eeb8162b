import { dirname, resolve } from 'node:path';
import { Snapshots } from '../coordinator/snapshots.ts';
import { StillpointError } from '../errors.ts';
import { LEVELS } from '../options/choices.ts';
import { ownerOf } from '../snapshot/store/layout.ts';
import type { ListedSnapshot } from '../snapshot/store/standing.ts';
import type { Cli } from './cli.ts';
import { commandEnvironment } from './environment.ts';
import { time } from './text.ts';

/** Says so when what was restored is proven less deeply than another snapshot beside it. */
export async function noteLesser(cli: Cli, location: string, dataDir: string | undefined): Promise<void> {
  const dir = dataDir ?? ownerOf(location);
  if (dir === undefined) return;
  const best = await bestOf(dir);
  const restored = await new Snapshots({ dataDir: dir, environment: commandEnvironment })
    .get(location)
    .catch(() => undefined);
  if (best === undefined || restored === undefined || best.name === restored.name) return;
  if (depthOf(restored) >= depthOf(best)) return;
  const proof =
    restored.level === null ? 'has no proof on record' : `was proven at level "${restored.level}" only`;
  cli.output.note(
    `${restored.name} ${proof}; the newest that was proven at level "${best.level}" is ${best.name} (latest-good)`,
  );
}

/** A restore that fails since its snapshot is damaged names the newest good one. */
export async function namingBest<T>(
  snapshot: string,
  dataDir: string | undefined,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof StillpointError) || error.code !== 'RESTORE_INTEGRITY_MISMATCH') throw error;
    const dir = dataDir ?? ownerOf(resolve(snapshot)) ?? ownerOf(dirname(resolve(snapshot)));
    const best = dir === undefined ? undefined : await bestOf(dir);
    if (best === undefined) throw error;
    const { message, path, cause, data } = error;
    throw new StillpointError(error.code, message, {
      ...(path !== undefined && { path }),
      cause,
      ...(data && { data }),
      hint: `Nothing was changed. The newest good snapshot is ${best.name}, of ${time(best.createdAtMs)}: restore \`latest-good\`.`,
    });
  }
}

const bestOf = (dataDir: string): Promise<ListedSnapshot | undefined> =>
  new Snapshots({ dataDir, environment: commandEnvironment }).get('latest-good').catch(() => undefined);

const depthOf = ({ level }: ListedSnapshot): number => (level === null ? -1 : LEVELS.indexOf(level));
