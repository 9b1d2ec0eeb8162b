import { basename, dirname, join, relative, sep } from 'node:path';
import type { Destination } from '../destination/destination.ts';
import { folderOf } from '../destination/open.ts';
import { LIFECYCLE } from '../engine/engine.ts';
import { detectEngine } from '../engine/index.ts';
import { realPlace } from '../env/io.ts';
import { StillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';

/**
 * A repository and the data that it protects must lie apart. Inside the data directory it would be captured, moved by a restore
 * and lost with the database. All paths are real ones, so that links do not hide where something lies.
 */

const HINT = 'Name a folder outside, on another disk or another machine.';

const isWithin = (path: string, folder: string): boolean => {
  const way = relative(folder, path);
  return way !== '..' && !way.startsWith(`..${sep}`);
};

/** `DESTINATION_PATH_CONFLICT` when a folder lies in the repository, or the repository in the folder. Neither needs to exist. */
export async function refuseOverlap(
  { fs }: Environment,
  destination: Pick<Destination, 'url'>,
  path: string,
): Promise<void> {
  const root = folderOf(destination.url);
  if (root === undefined) return;
  const [repository, folder] = [await realPlace(fs, root), await realPlace(fs, path)];
  const isInside = isWithin(repository, folder);
  if (!isInside && !isWithin(folder, repository)) return;
  const what = isInside ? `${repository} lies in ${folder}` : `${folder} lies in ${repository}`;
  throw new StillpointError(
    'DESTINATION_PATH_CONFLICT',
    `the repository and the data must lie apart: ${what}`,
    { path: repository, hint: HINT },
  );
}

/** The same for a repository that is about to be made: it must lie in no data directory. */
export async function refuseInDataDirectory({ fs }: Environment, url: string): Promise<void> {
  const root = folderOf(url);
  if (root === undefined) return;
  const place = await realPlace(fs, root);
  for (let folder = place; ; folder = dirname(folder)) {
    // A folder above that may not be read is passed over: the first backup compares with its own data directory.
    const isData = await Promise.all([
      basename(folder) === LIFECYCLE ? folder : fs.inspect(join(folder, LIFECYCLE)),
      detectEngine(fs, folder).catch(() => undefined),
    ]).then(
      (found) => found.some((something) => something !== undefined),
      () => false,
    );
    if (isData) {
      throw new StillpointError(
        'DESTINATION_PATH_CONFLICT',
        `${place} lies in the data directory ${folder}`,
        {
          path: place,
          hint: HINT,
        },
      );
    }
    if (folder === dirname(folder)) return;
  }
}

/** What an operator should know: a repository on the disk of the data is lost with it. */
export async function sharedDisk(
  { fs }: Environment,
  destination: Pick<Destination, 'url'>,
  dataDir: string,
): Promise<string | undefined> {
  const root = folderOf(destination.url);
  if (root === undefined) return undefined;
  const [repository, data] = await Promise.all([fs.inspect(await fs.realPath(root)), fs.inspect(dataDir)]);
  if (repository === undefined || repository.dev !== data?.dev) return undefined;
  return `${root} is on the same disk as ${dataDir}: if that disk fails, both are lost`;
}
