import { systemClock } from '../env/clock.ts';
import { kernelLocks } from '../env/lock.ts';
import { nodeFileSystem } from '../env/node-file-system.ts';
import { DEFAULT_GEOMETRY, SEGMENT_HEADER_BYTES } from '../format/lsm/wal.ts';
import { OptionSet, type OptionsOf, type ResolvedOf, required, withDefault } from '../options/option.ts';
import { clock, fileSystem, locks } from '../options/system-parts.ts';
import { nested, trueOrFalse, wholeNumber } from '../options/values.ts';

const MiB = 1024 * 1024;

export const geometryOptions = new OptionSet(() => ({
  segmentBytes: required(wholeNumber(2 * SEGMENT_HEADER_BYTES, 2 ** 40), {
    description:
      'The size of one segment. Choose a multiple of 512: otherwise the header of a segment can span two sectors of the disk, and a power cut in the middle of writing it leaves a log that does not open.',
    unit: 'bytes',
  }),
  segmentCount: required(wholeNumber(2, 4096), { description: 'The number of segments.' }),
}));

export const lsmOptions = new OptionSet(() => ({
  createIfMissing: withDefault(trueOrFalse(), () => true, {
    description: 'Makes a database in a folder without one. With false that is `NOT_FOUND`.',
  }),
  walGeometry: withDefault(nested(geometryOptions.fields), () => DEFAULT_GEOMETRY, {
    description:
      'The size of the log of a new database; an existing one keeps its own. No batch can be larger than the whole log.',
  }),
  memtableBytes: withDefault(wholeNumber(1), () => 16 * MiB, {
    description: 'Writes a table once this much waits in memory.',
    unit: 'bytes',
  }),
  compactAtTables: withDefault(wholeNumber(2), () => 8, {
    description: 'Merges this many tables into one, in the background.',
  }),
  blockCacheBytes: withDefault(wholeNumber(0), () => 8 * MiB, {
    description: 'Keeps this much of the blocks of tables in memory; 0 keeps none.',
    unit: 'bytes',
  }),
  verifyTablesOnOpen: withDefault(trueOrFalse(), () => true, {
    description:
      'Reads every table to its end when the database is opened, and compares its checksum. With false opening takes the same time however much data there is, and a changed byte in an index or a filter can go unseen; blocks are checked whenever they are read.',
  }),
  fs: withDefault(fileSystem(), () => nodeFileSystem, { description: 'The file system. For tests.' }),
  locks: withDefault(locks(), () => kernelLocks, { description: 'The locks. For tests.' }),
  clock: withDefault(clock(), () => systemClock, { description: 'The clock. For tests.' }),
}));
export type LsmOptions = OptionsOf<typeof lsmOptions>;
export type ResolvedOptions = ResolvedOf<typeof lsmOptions>;

/** Fills in the defaults; a `TypeError` names the option that is wrong. */
export const resolveOptions = (options: LsmOptions = {}): ResolvedOptions =>
  Object.freeze(lsmOptions.resolve('openLsm', options));
