import { join } from 'node:path';
import type { Destination } from '../destination/destination.ts';
import { listFolder, makeFolders, removeTree } from '../env/io.ts';
import type { HeldLock } from '../env/lock.ts';
import { warn } from '../env/safe-calls.ts';
import { isRefusal } from '../errors.ts';
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
  const folder = join(parent, `stillpoint-scratch-${env.newId()}`);
  await refuseOverlap(env, destination, folder);
  await sweep(env, parent).catch(warnUnlessRefused);
  let lock: HeldLock | undefined;
  try {
    await makeFolders(env.fs, folder);
    // Where there are no locks, nobody can take it for left over either.
    lock = await env.locks.tryAcquire(env.fs, lockIn(folder), 'exclusive').catch(() => undefined);
    return await work(join(folder, 'data'));
  } finally {
    await removeTree(env.fs, folder).finally(() => lock?.release());
  }
}

const NAME = /^stillpoint-scratch-[\w-]+$/;
const lockIn = (folder: string): string => join(folder, 'lock');

async function sweep({ fs, locks }: Environment, parent: string): Promise<void> {
  for (const { name, kind } of await listFolder(fs, parent)) {
    if (kind !== 'folder' || !NAME.test(name)) continue;
    const folder = join(parent, name);
    try {
      // Without the file somebody is just making it.
      if ((await fs.inspect(lockIn(folder)))?.kind !== 'file') continue;
      const lock = await locks.tryAcquire(fs, lockIn(folder), 'exclusive');
      if (lock !== undefined) await removeTree(fs, folder).finally(() => lock.release());
    } catch (error) {
      warnUnlessRefused(error);
    }
  }
}

/** What is refused is another user's. */
const warnUnlessRefused = (error: unknown): void => {
  if (!isRefusal(error)) warn(error);
};
