import { type Clock, newId, systemClock } from '../env/clock.ts';
import type { FileSystem } from '../env/file-system.ts';
import { kernelLocks, type Locks } from '../env/lock.ts';
import { nodeFileSystem } from '../env/node-file-system.ts';
import { type OpenSqlite, openSqlite } from '../env/sqlite.ts';
import { threadPool, type WorkerPool } from '../env/worker-pool.ts';
import { optional } from '../options/option.ts';
import { clock, fileSystem, locks } from '../options/system-parts.ts';
import { callback, withMembers, withMethods } from '../options/values.ts';
import type { Tasks } from './tasks/signatures.ts';

/** The outside world as the snapshot code sees it. A test may replace each part. */
export interface Environment {
  readonly fs: FileSystem;
  readonly clock: Clock;
  readonly locks: Locks;
  readonly pool: WorkerPool<Tasks>;
  readonly openSqlite: OpenSqlite;
  newId(): string;
}

const entry = new URL(
  import.meta.url.endsWith('.ts') ? './tasks/worker.ts' : './tasks/worker.js',
  import.meta.url,
);

export const systemEnvironment: Environment = {
  fs: nodeFileSystem,
  clock: systemClock,
  locks: kernelLocks,
  pool: threadPool<Tasks>(entry),
  openSqlite,
  newId,
};

export const environmentOption = () =>
  optional(
    withMembers<Environment>('an environment', {
      fs: fileSystem(),
      clock: clock(),
      locks: locks(),
      pool: withMethods('a pool', 'run', 'load', 'prepare'),
      openSqlite: callback(),
      newId: callback(),
    }),
    {
      description: 'The outside world: file system, clock, locks, threads. For tests.',
      without: 'the system',
    },
  );
