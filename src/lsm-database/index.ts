/** The database in the `lsm` format: `openLsm` and what goes with it. */
export type { Bytes, LsmOp } from './batch.ts';
export { type Committed, LsmDatabase, type LsmStats, openLsm } from './database.ts';
export type { LsmHold } from './hold.ts';
export { type LsmOptions, resolveOptions } from './options.ts';
export type { IterateOptions, RangeIterator } from './range-iterator.ts';
