import { dirname, join } from 'node:path';
import { MANIFEST } from '../engine/engine.ts';
import type { FileSystem } from '../env/file-system.ts';
import { createFile, replaceFile } from '../env/io.ts';
import { StillpointError } from '../errors.ts';
import { LATEST } from './layout.ts';
import { encodeManifest, type Manifest } from './manifest.ts';

/** Writes the manifest into a captured folder; from here on nothing in it changes. */
export async function seal(fs: FileSystem, folder: string, manifest: Manifest): Promise<void> {
  const temporary = join(folder, `${MANIFEST}.tmp`);
  await createFile(fs, temporary, encodeManifest(manifest));
  await fs.rename(temporary, join(folder, MANIFEST));
  await fs.syncFolder(folder);
}

/** Gives a proven folder its public name. */
export async function publish(fs: FileSystem, partial: string, location: string): Promise<void> {
  if ((await fs.inspect(location)) !== undefined) {
    throw new StillpointError('CONFLICT', `${location} came into being meanwhile`, { path: location });
  }
  await fs.rename(partial, location);
  await fs.syncFolder(dirname(location));
}

/** Moves the latest marker. The very last step: what it names is whole, proven and durable. */
export const mark = (fs: FileSystem, parent: string, name: string): Promise<void> =>
  replaceFile(fs, join(parent, LATEST), Buffer.from(`${name}\n`));
