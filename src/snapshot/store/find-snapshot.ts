import { isAbsolute, join, sep } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import { realPlace } from '../../env/io.ts';
import { warn } from '../../env/safe-calls.ts';
import { StillpointError } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { isSnapshotName, LATEST, LATEST_GOOD, type Layout } from './layout.ts';
import { latestName, listSnapshotFolders } from './list.ts';
import { newestGood, noneGood, standings } from './standing.ts';

/**
 * The folder of a snapshot, named as people do: `latest`, `latest-good`, a name (`ts-…`), an id, or a path to it. `allowed` are the folders
 * that a path may lie in (any, when undefined). `NOT_FOUND` when there is none, `PATH_OUTSIDE` when it lies elsewhere.
 */
export async function findSnapshot(
  env: Environment,
  layout: Layout | undefined,
  source: string,
  allowed?: readonly string[],
): Promise<string> {
  const { fs } = env;
  const isPath = isAbsolute(source) || source.includes(sep);
  if (layout !== undefined && !isPath) {
    if (source === LATEST) return findLatest(env, layout);
    if (source === LATEST_GOOD) return findLatestGood(env, layout);
    if (isSnapshotName(source)) {
      const location = join(layout.backup, source);
      if ((await fs.inspect(location))?.kind === 'folder') return location;
      throw notFound(source, layout);
    }
    const summaries = await listSnapshotFolders(env, layout);
    const withId = summaries.find(({ id }) => id === source);
    if (withId !== undefined) return withId.location;
  }
  if (!isPath && layout !== undefined) throw notFound(source, layout);
  const real = await (allowed === undefined
    ? fs.realPath(source).catch((cause) => {
        throw notFound(source, undefined, cause);
      })
    : placeWithin(fs, source, allowed));
  const kind = (await fs.inspect(real))?.kind;
  if (kind === undefined) throw notFound(source);
  if (kind !== 'folder') {
    throw new StillpointError('NOT_A_FOLDER', `${source} is not a folder`, { path: source });
  }
  return real;
}

/** The real path of a place in one of `roots`, else `PATH_OUTSIDE`: also for a missing place, so that a client cannot find out what exists. */
async function placeWithin(fs: FileSystem, source: string, roots: readonly string[]): Promise<string> {
  const refuse = (cause?: unknown) =>
    new StillpointError('PATH_OUTSIDE', `${source} does not lie in a folder that snapshots may come from`, {
      path: source,
      cause,
      hint: `Name a snapshot, or a path inside ${roots.join(' or ')}.`,
    });
  const place = await realPlace(fs, source).catch((cause) => {
    throw refuse(cause);
  });
  for (const root of roots) {
    const real = await realPlace(fs, root).catch(() => undefined);
    if (real !== undefined && place.startsWith(real.endsWith(sep) ? real : real + sep)) return place;
  }
  throw refuse();
}

/** Where the marker is lost or names nothing, the newest good snapshot beside it. */
async function findLatest(env: Environment, layout: Layout): Promise<string> {
  const name = await latestName(env.fs, layout.backup);
  if (name !== undefined) return join(layout.backup, name);
  const known = await standings(env, layout);
  const best = newestGood(known);
  if (best !== undefined) {
    warn(`${layout.latest} names no snapshot; the newest good one is taken: ${best.snapshot.name}`);
    return best.snapshot.location;
  }
  const archived = await latestName(env.fs, layout.archive);
  if (archived === undefined) throw noneGood(layout.dataDir, known);
  return join(layout.archive, archived);
}

async function findLatestGood(env: Environment, layout: Layout): Promise<string> {
  const known = await standings(env, layout);
  const best = newestGood(known);
  if (best === undefined) throw noneGood(layout.dataDir, known);
  return best.snapshot.location;
}

/** @param layout Where it was looked for; undefined for a path. */
function notFound(source: string, layout?: Layout, cause?: unknown): StillpointError {
  const where = layout === undefined ? '' : ` in ${layout.dataDir}`;
  return new StillpointError('NOT_FOUND', `there is no snapshot "${source}"${where}`, {
    path: source,
    cause,
  });
}
