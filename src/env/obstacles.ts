import { access, constants, readFile } from 'node:fs/promises';
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
