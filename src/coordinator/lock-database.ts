import { join } from 'node:path';
import type { Engine } from '../engine/engine.ts';
import type { HeldLock } from '../env/lock.ts';
import { StillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import { isExchanged } from '../snapshot/restore/check-exchange.ts';
import { nestedDatabases } from '../snapshot/restore/nested-databases.ts';

/**
 * Keeps other processes from opening the database while its files are exchanged; `CONFLICT` when one has. An engine that owns any name
 * may have databases among its files: theirs are taken, too.
 *
 * @param keep Names that are not moved: the lock of the database itself, which is made where it is absent.
 */
export async function lockDatabase(
  { fs, locks }: Pick<Environment, 'fs' | 'locks'>,
  dataDir: string,
  keep: readonly string[],
  engine: Engine | undefined,
): Promise<HeldLock[]> {
  const nested =
    engine?.ownsName === undefined
      ? await nestedDatabases(fs, dataDir, (name) => isExchanged(name, keep, engine))
      : { locks: [] };
  const held: HeldLock[] = [];
  try {
    for (const path of [...keep, ...nested.locks]) {
      const lock = await locks.tryAcquireEngineLock(fs, join(dataDir, path));
      if (lock === undefined) throw databaseOpen(join(dataDir, path, '..'));
      held.push(lock);
    }
    return held;
  } catch (error) {
    await unlock(held);
    throw error;
  }
}

export async function unlock(held: readonly HeldLock[]): Promise<void> {
  for (const lock of held) await lock.release();
}

/** `CONFLICT` when somebody has the database open now. Makes no file. */
export async function refuseOpenDatabase(
  env: Pick<Environment, 'fs' | 'locks'>,
  dataDir: string,
  keep: readonly string[],
  engine: Engine | undefined,
): Promise<void> {
  const present: string[] = [];
  for (const name of keep) if ((await env.fs.inspect(join(dataDir, name))) !== undefined) present.push(name);
  await unlock(await lockDatabase(env, dataDir, present, engine));
}

const databaseOpen = (dir: string): StillpointError =>
  new StillpointError('CONFLICT', `the database in ${dir} is open`, {
    path: dir,
    hint: 'Close it first, or restore through the server that has it open.',
  });
