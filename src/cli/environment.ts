import { blockingFileSystem } from '../env/blocking-file-system.ts';
import { openSqliteHere } from '../env/sqlite.ts';
import { inlinePool, smallHere } from '../env/worker-pool.ts';
import { type Environment, systemEnvironment } from '../snapshot/environment.ts';
import { TASKS } from '../snapshot/tasks/tasks.ts';

/** A command has no event loop to keep free for others: starting a thread for little work would only be waited for. */
export const commandEnvironment: Environment = {
  ...systemEnvironment,
  pool: smallHere(inlinePool(TASKS, blockingFileSystem), systemEnvironment.pool),
  openSqlite: openSqliteHere,
};

/** Where nothing else goes on in the process and no thread is needed: with calls that block it, a list takes two thirds of the time. */
export const blockingEnvironment: Environment = { ...commandEnvironment, fs: blockingFileSystem };
