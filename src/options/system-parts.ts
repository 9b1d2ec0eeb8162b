import type { Clock } from '../env/clock.ts';
import type { FileSystem } from '../env/file-system.ts';
import type { Locks } from '../env/lock.ts';
import { withMethods } from './values.ts';

/** Parts of the outside world that a caller may replace. */

export const fileSystem = () => withMethods<FileSystem>('a file system', 'open', 'inspect', 'list', 'rename');
export const clock = () => withMethods<Clock>('a clock', 'nowMs', 'monotonicMs', 'every');
export const locks = () => withMethods<Locks>('locks', 'tryAcquire');
