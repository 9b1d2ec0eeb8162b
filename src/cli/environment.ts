import { nodeFileSystem } from '../env/node-file-system.ts';
import { inlinePool, smallHere } from '../env/worker-pool.ts';
import { type Environment, systemEnvironment } from '../snapshot/environment.ts';
import { TASKS } from '../snapshot/tasks/tasks.ts';

/** A command has no event loop to keep free for others: starting a thread for a small snapshot would only be waited for. */
export const commandEnvironment: Environment = {
  ...systemEnvironment,
  pool: smallHere(inlinePool(TASKS, nodeFileSystem), systemEnvironment.pool),
};
