import { type Environment, systemEnvironment } from '../../src/snapshot/environment.ts';
import type { CopyJob } from '../../src/snapshot/tasks/copy-files.ts';

const isTable = ({ target }: CopyJob): boolean => /\.(sst|ldb)$/.test(target);

/** An environment that calls `before` each time tables are about to be copied. */
export function beforeTables(before: () => unknown): Environment {
  const { pool } = systemEnvironment;
  const run = (async (...task: Parameters<typeof pool.run>) => {
    if (task[0] === 'copyFiles' && (task[1] as readonly CopyJob[]).some(isTable)) await before();
    return pool.run(...task);
  }) as typeof pool.run;
  return { ...systemEnvironment, pool: { ...pool, run } };
}
