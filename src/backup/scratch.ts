import { join } from 'node:path';
import type { Destination } from '../destination/destination.ts';
import { createFile, listFolder, makeFolders, removeTree } from '../env/io.ts';
import type { HeldLock } from '../env/lock.ts';
import { warn } from '../env/safe-calls.ts';
import { isRefusal, systemCode } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import { realFolder } from '../snapshot/store/real-folder.ts';
import { refuseOverlap } from './placement.ts';

/**
 * A folder that is thrown away, in the folder `scratch`. It is locked while it is used: what a killed process left there, a backup in the
 * clear, goes with the next call.
 */
export async function inScratch<T>(
  env: Environment,
  destination: Destination,
  scratch: string,
  work: (folder: string) => Promise<T>,
): Promise<T> {
  const parent = await realFolder(env.fs, scratch, 'scratch folder');
  await refuseOverlap(env, destination, join(parent, 'stillpoint-scratch'));
  await sweep(env, parent).catch(warnUnlessRefused);
  const { folder, lock } = await make(env, parent);
  try {
    return await work(join(folder, DATA));
  } finally {
    await remove(env, folder).finally(() => lock?.release());
  }
}

const NAME = /^stillpoint-scratch-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const [LOCK_FILE, DATA] = ['stillpoint.lock', 'data'];

interface Made {
  readonly folder: string;
  /** Undefined where there are no locks: nobody can take it for left over either. */
  readonly lock: HeldLock | undefined;
}

async function make(env: Environment, parent: string): Promise<Made> {
  const { fs, locks } = env;
  for (;;) {
    const folder = join(parent, `stillpoint-scratch-${env.newId()}`);
    const path = join(folder, LOCK_FILE);
    await makeFolders(fs, folder);
    try {
      // Not empty: an empty file that is locked in this process is taken for the lock of an engine.
      await createFile(fs, path, Buffer.from('stillpoint\n'));
      const lock = await locks.tryAcquire(fs, path, 'exclusive');
      if (lock !== undefined) return { folder, lock };
      // Who sweeps was faster, and removes it.
    } catch (error) {
      if (systemCode(error) === 'ENOENT') continue; // it has done so
      if ((await fs.inspect(path))?.kind === 'file') return { folder, lock: undefined };
      await removeTree(fs, folder);
      throw error;
    }
  }
}

/** The lock file goes last: without it nobody would remove the rest. */
async function remove({ fs }: Environment, folder: string): Promise<void> {
  await removeTree(fs, join(folder, DATA));
  await removeTree(fs, folder);
}

async function sweep(env: Environment, parent: string): Promise<void> {
  const { fs, locks } = env;
  for (const { name, kind } of await listFolder(fs, parent)) {
    if (kind !== 'folder' || !NAME.test(name)) continue;
    const folder = join(parent, name);
    try {
      const entries = await listFolder(fs, folder);
      const isOurs = entries.every((entry) => entry.name === LOCK_FILE || entry.name === DATA);
      // Without the file somebody is just making it.
      if (!isOurs || !entries.some((entry) => entry.name === LOCK_FILE && entry.kind === 'file')) continue;
      // Shared: that makes no file where its owner has just removed it. Two who sweep may meet.
      const lock = await locks.tryAcquire(fs, join(folder, LOCK_FILE), 'shared');
      if (lock !== undefined) await remove(env, folder).finally(() => lock.release());
    } catch (error) {
      if (!['ENOENT', 'ENOTEMPTY'].includes(systemCode(error) ?? '')) warnUnlessRefused(error);
    }
  }
}

/** What is refused is another user's. */
const warnUnlessRefused = (error: unknown): void => {
  if (!isRefusal(error)) warn(error);
};
