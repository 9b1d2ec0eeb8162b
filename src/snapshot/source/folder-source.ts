import { join } from 'node:path';
import { MANIFEST } from '../../engine/engine.ts';
import type { FileSystem } from '../../env/file-system.ts';
import type { HeldLock } from '../../env/lock.ts';
import { StillpointError } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { placeOf } from '../store/layout.ts';
import { readManifest } from '../store/manifest-file.ts';
import type { SnapshotSource } from './snapshot-source.ts';

const CHUNK_BYTES = 256 * 1024;

/**
 * A snapshot in a folder. Until `release` nobody can prune it. Undefined when the folder has no manifest; `CONFLICT` when the
 * snapshot is being deleted.
 */
export async function openFolderSource(
  env: Environment,
  folder: string,
): Promise<SnapshotSource | undefined> {
  const lock = await lockForReading(env, folder);
  return lock && folderSource(env, folder, () => lock.release());
}

/** As `openFolderSource`, without a lock: for a folder that nobody else can remove. */
export const folderSource = (
  env: Environment,
  folder: string,
  release = async (): Promise<void> => {},
): SnapshotSource => ({
  location: folder,
  folder,
  async manifest() {
    const manifest = await readManifest(env, folder);
    if (manifest !== undefined) return manifest;
    throw new StillpointError('MANIFEST_INVALID', `${folder} has lost its manifest`, { path: folder });
  },
  read: (path, signal) => readChunks(env.fs, placeOf(folder, path), signal),
  release,
});

/**
 * Keeps a snapshot from being deleted while it is read. Undefined, with nothing to release, where there is no manifest. `CONFLICT`
 * when it is being deleted already.
 */
export async function lockForReading(env: Environment, folder: string): Promise<HeldLock | undefined> {
  const path = join(folder, MANIFEST);
  if ((await env.fs.inspect(path))?.kind !== 'file') return undefined;
  const lock = await env.locks.tryAcquire(env.fs, path, 'shared');
  if (lock === undefined)
    throw new StillpointError('CONFLICT', `${folder} is being deleted`, { path: folder });
  return lock;
}

async function* readChunks(fs: FileSystem, path: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const file = await fs.open(path, 'read');
  try {
    for (let position = 0; ; ) {
      signal.throwIfAborted();
      const buffer = Buffer.allocUnsafe(CHUNK_BYTES); // a new one each time: the reader may keep it
      const count = await file.read(buffer, position);
      if (count === 0) return;
      position += count;
      yield buffer.subarray(0, count);
    }
  } finally {
    await file.close();
  }
}
