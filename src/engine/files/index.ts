import { join } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import { listRegularFiles } from '../../env/folder-tree.ts';
import { StillpointError } from '../../errors.ts';
import { type Engine, type ImageItem, MANIFEST, NOT_OF_THE_DATABASE } from '../engine.ts';
import { nestedLifecycles } from '../nested-lifecycles.ts';
import { checkRawFile, joinRawParts } from '../raw-file-check.ts';

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
  listFiles,
  async plan({ fs, dir }) {
    const before = await stateOf(fs, dir);
    const items = [...before].map(
      ([path, { sizeBytes, allocatedBytes }]): ImageItem => ({
        kind: 'image',
        path,
        sizeBytes,
        allocatedBytes,
        extents: sizeBytes === 0 ? [] : [{ offset: 0, length: sizeBytes }],
        patches: [],
      }),
    );
    return { items, needsComparison: true, confirm: async () => firstChange(before, await stateOf(fs, dir)) };
  },
  checkFile: checkRawFile,
  isDivisible: () => true,
  joinParts: joinRawParts,
  checkConsistency: () => ({ findings: [] }),
};

async function listFiles(fs: FileSystem, dir: string): Promise<string[]> {
  const files = await listRegularFiles(fs, dir, [...NOT_OF_THE_DATABASE, MANIFEST]);
  const nested = nestedLifecycles(files);
  return nested.length === 0
    ? files
    : files.filter((path) => !nested.some((folder) => path.startsWith(`${folder}/`)));
}

interface FileState {
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  /** Inode, time and size in one: any write, replacement or cut changes it. */
  readonly identity: string;
}

async function stateOf(fs: FileSystem, dir: string): Promise<Map<string, FileState>> {
  const files = new Map<string, FileState>();
  for (const path of await listFiles(fs, dir)) {
    const stat = await fs.inspect(join(dir, path));
    if (stat === undefined) continue; // gone since it was listed: the confirmation will see that
    if (stat.kind !== 'file') {
      throw new StillpointError('UNSUPPORTED_FILE', `${join(dir, path)} is not a regular file`, { path });
    }
    const { ino, mtimeNs, sizeBytes, allocatedBytes } = stat;
    files.set(path, { sizeBytes, allocatedBytes, identity: `${ino}:${mtimeNs}:${sizeBytes}` });
  }
  return files;
}

function firstChange(
  before: ReadonlyMap<string, FileState>,
  after: ReadonlyMap<string, FileState>,
): string | undefined {
  for (const [path, { identity }] of before) {
    const now = after.get(path);
    if (now === undefined) return `${path} vanished`;
    if (now.identity !== identity) return `${path} was written to`;
  }
  for (const path of after.keys()) if (!before.has(path)) return `${path} appeared`;
  return undefined;
}
