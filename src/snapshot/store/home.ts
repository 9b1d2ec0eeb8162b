import { dirname, join, resolve, sep } from 'node:path';
import * as z from 'zod';
import { LIFECYCLE } from '../../engine/engine.ts';
import { readJson, writeJson } from '../../env/durable-json.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { listIfPresent, makeFolders, removeIfPresent } from '../../env/io.ts';
import { StillpointError, systemCode } from '../../errors.ts';
import { LATEST, type Layout, layoutOf, ownerOf } from './layout.ts';
import { realFolder } from './real-folder.ts';

/**
 * Where the snapshots of a data directory are kept, when not in itself: its home. Two small files say so, and only where
 * both agree: `.lifecycle/data-directory.json` in the home names the data directory, `.lifecycle/kept-in.json` in the data
 * directory names the home. The second one is missing where the data directory takes no change.
 */

const LIMIT_BYTES = 64 * 1024;
const path = z.string().min(1);
const schemas = {
  'data-directory.json': z.object({ data_dir: path }),
  'kept-in.json': z.object({ home: path }),
};
type NoteName = keyof typeof schemas;

const noteOf = (folder: string, name: NoteName): string => join(folder, LIFECYCLE, name);

function readNote<N extends NoteName>(fs: FileSystem, folder: string, name: N) {
  const path = noteOf(folder, name);
  return readJson<z.infer<(typeof schemas)[N]>>(fs, path, {
    schema: schemas[name] as never,
    limitBytes: LIMIT_BYTES,
    refuse: (why, cause) =>
      new StillpointError('IO_ERROR', `${path} cannot be read: it ${why}`, {
        path,
        cause,
        hint: 'It says where the snapshots are kept. Name that folder with `--to DIR`, and it is written anew.',
      }),
  });
}

/**
 * The layout of a folder that is a data directory, or the home of one that names it. `NOT_FOUND` when its home is not there now (a disk that is
 * not mounted), `CONFLICT` when that keeps the snapshots of another.
 *
 * @param folder A real path.
 */
export async function keptLayout(fs: FileSystem, folder: string): Promise<Layout> {
  const owned = await readNote(fs, folder, 'data-directory.json');
  if (owned !== undefined) {
    const { data_dir } = owned;
    const agrees = (await readNote(fs, data_dir, 'kept-in.json').catch(() => undefined))?.home === folder;
    return agrees ? layoutOf(data_dir, folder) : layoutOf(folder);
  }
  const home = (await readNote(fs, folder, 'kept-in.json'))?.home;
  if (home === undefined) return layoutOf(folder);
  const owner = (await readNote(fs, home, 'data-directory.json'))?.data_dir;
  if (owner === folder) return layoutOf(folder, home);
  if (owner !== undefined) throw keptOther(home, owner, folder);
  throw new StillpointError(
    'NOT_FOUND',
    `the snapshots of ${folder} are kept in ${home}, and are not there now`,
    {
      path: home,
      hint: 'Mount that disk, or name another folder with `stillpoint snapshot DIR --to OTHER`.',
    },
  );
}

/**
 * The layout of a data directory with a home that was chosen for it. `CONFLICT` when that keeps the snapshots of another one,
 * `INVALID_REQUEST` when one of the two lies in the other in a way that would mix them. Changes nothing.
 *
 * @param dataDir A real path.
 * @param home An absolute path; it need not exist.
 */
export async function chosenLayout(fs: FileSystem, dataDir: string, chosen: string): Promise<Layout> {
  const home = await realPlace(fs, chosen);
  if (home === dataDir) return layoutOf(dataDir);
  if (ownerOf(home) !== undefined) throw refuse(home, `it lies in a folder ${LIFECYCLE}`);
  if (home.startsWith(dataDir + sep))
    throw refuse(home, `it lies in ${dataDir}, and would be captured with it`);
  const owner = (await readNote(fs, home, 'data-directory.json'))?.data_dir;
  if (owner === undefined) {
    if ((await listIfPresent(fs, join(home, LIFECYCLE))).length > 0)
      throw refuse(home, `the snapshots of what is in it are kept there`);
  } else if (owner !== dataDir && (await fs.inspect(owner)) !== undefined)
    throw keptOther(home, owner, dataDir);
  return layoutOf(dataDir, home);
}

/** The real path of a folder of which the last parts may not exist yet. */
async function realPlace(fs: FileSystem, place: string): Promise<string> {
  try {
    return await realFolder(fs, place, 'folder');
  } catch (error) {
    if (!(error instanceof StillpointError) || error.code !== 'NOT_FOUND' || dirname(place) === place)
      throw error;
    return resolve(
      await realPlace(fs, dirname(place)),
      place.slice(dirname(place).length).replace(/^[/\\]/, ''),
    );
  }
}

/**
 * `INVALID_REQUEST` for a home that its data directory does not name: whoever writes the note in a home must not decide what is
 * captured or replaced elsewhere. Its snapshots can be read all the same.
 */
export async function refuseBareHome(fs: FileSystem, { home, dataDir }: Layout): Promise<void> {
  const owner = home === dataDir ? (await readNote(fs, home, 'data-directory.json'))?.data_dir : undefined;
  if (owner === undefined) return;
  throw new StillpointError(
    'INVALID_REQUEST',
    `${home} keeps the snapshots of ${owner}, which does not name it`,
    {
      path: home,
      hint: `Name the data directory itself: \`stillpoint snapshot ${owner} --to ${home}\`, \`stillpoint restore ${join(home, LIFECYCLE, 'backup', LATEST)} --data-dir ${owner} --in-place\`.`,
    },
  );
}

/** Notes on both sides where the snapshots are kept from now on. The caller holds the lock of the lifecycle folder. */
export async function noteHome(fs: FileSystem, { dataDir, home }: Layout): Promise<void> {
  if (home === dataDir) {
    const note = noteOf(dataDir, 'kept-in.json');
    if ((await fs.inspect(note)) === undefined) return;
    await removeIfPresent(fs, note);
    await fs.syncFolder(dirname(note)); // back after a crash, it would hide the snapshots that are taken from now on
    return;
  }
  const isNoted = async (folder: string, name: NoteName, value: object): Promise<boolean> =>
    JSON.stringify(await readNote(fs, folder, name).catch(() => undefined)) === JSON.stringify(value);
  const owned = { data_dir: dataDir };
  if (!(await isNoted(home, 'data-directory.json', owned)))
    await writeJson(fs, noteOf(home, 'data-directory.json'), owned, 'lines');
  const kept = { home };
  if (await isNoted(dataDir, 'kept-in.json', kept)) return;
  try {
    await makeFolders(fs, join(dataDir, LIFECYCLE));
    await writeJson(fs, noteOf(dataDir, 'kept-in.json'), kept, 'lines');
  } catch (error) {
    if (!isRefused(error)) throw error; // the home alone knows, then
  }
}

/** Whether a folder takes no change from us, whatever is tried. */
export const isRefused = (error: unknown): boolean =>
  ['EROFS', 'EACCES', 'EPERM'].includes(systemCode(error) ?? '');

const refuse = (home: string, why: string): StillpointError =>
  new StillpointError('INVALID_REQUEST', `snapshots cannot be kept in ${home}: ${why}`, {
    path: home,
    hint: 'Name another folder.',
  });

const keptOther = (home: string, owner: string, dataDir: string): StillpointError =>
  new StillpointError('CONFLICT', `${home} keeps the snapshots of ${owner}, not of ${dataDir}`, {
    path: home,
    hint: 'Name another folder with `stillpoint snapshot DIR --to OTHER`: snapshots of two databases would be mixed.',
  });
