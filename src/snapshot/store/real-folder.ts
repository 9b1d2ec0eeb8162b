import { resolve } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import { StillpointError, systemCode } from '../../errors.ts';

/** The real path of an existing folder; `NOT_FOUND`, `NOT_A_FOLDER` or `ACCESS_DENIED` say what stands there instead. */
export async function realFolder(fs: FileSystem, path: string, what = 'data directory'): Promise<string> {
  let real: string;
  try {
    real = await fs.realPath(path);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT')
      throw new StillpointError('NOT_FOUND', `no such ${what}: ${path}`, {
        path,
        cause: error,
        hint: `Check the path: there is nothing at ${resolve(path)}.`,
      });
    if (code === 'ENOTDIR')
      throw new StillpointError('NOT_A_FOLDER', `${path} is not a folder`, { path, cause: error });
    throw error;
  }
  if ((await fs.inspect(real))?.kind !== 'folder') {
    throw new StillpointError('NOT_A_FOLDER', `${path} is not a folder`, { path });
  }
  return real;
}
