import type { FileSystem } from '../../env/file-system.ts';
import { listRegularFiles } from '../../env/folder-tree.ts';
import { type Engine, MANIFEST, NOT_OF_THE_DATABASE } from '../engine.ts';
import { nestedLifecycles } from '../nested-lifecycles.ts';
import { checkRawFile, joinRawParts } from '../raw-file-check.ts';
import { firstChange, imagesOf, statesOf } from './file-states.ts';

/**
 * Any folder at all. Nothing is known of the content: each file is copied whole, and none is taken for immutable. The capture counts
 * only if no file changed from the first look to the last, and if each file, read once more after all were copied, has the checksums of its copy. So a
 * host must keep writers still (a checkpoint hook), or the folder must be at rest.
 */
export const filesEngine: Engine = {
  name: 'files',
  hasImmutableFiles: false,
  // Every folder would do; it is never guessed, only chosen.
  detect: async () => false,
  listFiles: listPlainFiles,
  async plan({ fs, dir }) {
    const states = async () => statesOf(fs, dir, await listPlainFiles(fs, dir));
    const before = await states();
    return { items: imagesOf(before), confirm: async () => firstChange(before, await states()) };
  },
  checkFile: checkRawFile,
  isDivisible: () => true,
  joinParts: joinRawParts,
  checkConsistency: () => ({ findings: [] }),
};

/** All files of a folder, but for snapshots of it and of databases in it. */
export async function listPlainFiles(fs: FileSystem, dir: string): Promise<string[]> {
  const files = await listRegularFiles(fs, dir, [...NOT_OF_THE_DATABASE, MANIFEST]);
  const nested = nestedLifecycles(files);
  return nested.length === 0
    ? files
    : files.filter((path) => !nested.some((folder) => path.startsWith(`${folder}/`)));
}
