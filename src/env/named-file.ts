import { resolve } from 'node:path';
import { StillpointError, systemCode } from '../errors.ts';
import type { FileSystem } from './file-system.ts';
import { readSmallFile } from './io.ts';

/**
 * A small file that the operator named. Links are followed: secrets are mounted as links, and certificates renewed by turning
 * them. `NOT_FOUND` and `INVALID_REQUEST` say `what` it should have been.
 */
export async function readNamedFile(
  fs: FileSystem,
  what: string,
  file: string,
  limitBytes: number,
): Promise<Buffer> {
  const absent = (cause?: unknown) =>
    new StillpointError('NOT_FOUND', `there is no ${what}: ${file}`, {
      path: file,
      cause,
      hint: `Check the path: there is nothing at ${resolve(file)}.`,
    });
  const path = await fs.realPath(file).catch((cause) => {
    throw systemCode(cause) === 'ENOENT' ? absent(cause) : cause;
  });
  const kind = (await fs.inspect(path))?.kind;
  if (kind === 'folder') {
    throw new StillpointError('INVALID_REQUEST', `the ${what} ${file} is a folder`, {
      path: file,
      hint: 'Name the file itself.',
    });
  }
  const bytes = await readSmallFile(fs, path, limitBytes);
  if (bytes === undefined) throw absent();
  return bytes;
}
