import { type Backend, lsmBackend } from '../../src/server/index.ts';

/** A log of 256 KiB: a snapshot of it takes no time. */
export const smallLsm = (): Backend =>
  lsmBackend({ walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 } });
