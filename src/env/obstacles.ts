import { access, constants, readdir, readFile, rename } from 'node:fs/promises';
import { systemCode } from '../errors.ts';

// What keeps the kernel from moving a file or folder, asked without moving it.

/** The places where a file system is mounted, a bind mount included; undefined where the system does not list them. */
export async function mountPoints(): Promise<ReadonlySet<string> | undefined> {
  let table: string;
  try {
    table = await readFile('/proc/self/mountinfo', 'utf8');
  } catch {
    return undefined;
  }
  const places = table.split('\n').map((line) => line.split(' ')[4] ?? '');
  return new Set(
    places.map((place) =>
      place.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8))),
    ),
  );
}

/** What the kernel answers where nothing but the folder in the way keeps it from a move. */
const ONLY_IN_THE_WAY: ReadonlySet<string | undefined> = new Set(['ENOTEMPTY', 'EEXIST', 'EISDIR']);

/**
 * The system error of a move of a file or folder, undefined when there would be none. The kernel is asked for a move that cannot succeed:
 * onto a folder that is not empty. It looks first at all else: `EPERM` for what is immutable or may only be appended to, `EXDEV` for a
 * folder of a lower layer of overlayfs, `EBUSY` for a mount.
 *
 * @param occupied A folder that is not empty.
 */
export async function refusalOfMove(path: string, occupied: string): Promise<string | undefined> {
  try {
    if ((await readdir(occupied)).length === 0) return undefined; // the move would succeed
  } catch {
    return undefined; // there is none
  }
  try {
    await rename(path, occupied);
    return undefined;
  } catch (error) {
    const code = systemCode(error);
    return ONLY_IN_THE_WAY.has(code) ? undefined : code;
  }
}

/**
 * The system error of a write to a file or folder, undefined when there would be none. Opens nothing. `EPERM` says that it is
 * immutable (`chattr +i`): then it cannot be moved either.
 */
export async function refusalOfWrites(path: string): Promise<string | undefined> {
  try {
    await access(path, constants.W_OK);
    return undefined;
  } catch (error) {
    return systemCode(error);
  }
}
