import { dirname, join } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import { replaceFile } from '../../env/io.ts';
import { StillpointError } from '../../errors.ts';
import { LATEST } from './layout.ts';

/** Gives a proven folder its public name. */
export async function publish(fs: FileSystem, partial: string, location: string): Promise<void> {
  if ((await fs.inspect(location)) !== undefined) {
    throw new StillpointError('CONFLICT', `${location} appeared during the snapshot`, { path: location });
  }
  await fs.rename(partial, location);
  await fs.syncFolder(dirname(location));
}

/** Moves the latest marker, as the last step: the snapshot is whole, proven and durable. */
export const mark = (fs: FileSystem, parent: string, name: string): Promise<void> =>
  replaceFile(fs, join(parent, LATEST), Buffer.from(`${name}\n`));
