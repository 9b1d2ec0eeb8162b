import { openLsm } from '../../src/index.ts';
import { type Backend, lsmBackend } from '../../src/server/index.ts';

/** A log of 256 KiB: a snapshot of it takes no time. That of a new database has 512 MiB otherwise. */
export const SMALL_LOG = { walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 } } as const;

export const smallLsm = (): Backend => lsmBackend(SMALL_LOG);

/** A new database with such a log, closed: whoever opens it leaves the log as it is. */
export const makeSmallLsm = async (dir: string): Promise<void> => (await openLsm(dir, SMALL_LOG)).close();
