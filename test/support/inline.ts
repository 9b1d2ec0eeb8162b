import { blockingFileSystem } from '../../src/env/blocking-file-system.ts';
import { inlinePool } from '../../src/env/worker-pool.ts';
import { type Environment, systemEnvironment } from '../../src/snapshot/environment.ts';
import { TASKS } from '../../src/snapshot/tasks/tasks.ts';

/** The real disk without a single hop between threads: for tests that do the same small thing thousands of times. */
export const inlineEnvironment: Environment = {
  ...systemEnvironment,
  fs: blockingFileSystem,
  pool: inlinePool(TASKS, blockingFileSystem),
};
