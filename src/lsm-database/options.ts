import {
  aBoolean,
  aClock,
  aFileSystem,
  type Checks,
  checkOptions,
  optional,
  optionsOf,
  theLocks,
  wholeNumber,
} from '../env/checks.ts';
import { type Clock, systemClock } from '../env/clock.ts';
import type { FileSystem } from '../env/file-system.ts';
import { kernelLocks, type Locks } from '../env/lock.ts';
import { nodeFileSystem } from '../env/node-file-system.ts';
import { DEFAULT_GEOMETRY, SEGMENT_HEADER_BYTES, type WalGeometry } from '../format/lsm/wal.ts';

const MiB = 1024 * 1024;

export interface LsmOptions {
  /** Whether a folder without a database gets one. Default true; with false it is `NOT_FOUND`. */
  readonly createIfMissing?: boolean;
  /**
   * Size of the log of a new database; an existing one keeps its own. Default 8 segments of 64 MiB. No batch can be larger
   * than the whole log. Let `segmentBytes` be a multiple of 512: else the header of a segment can span two sectors of the disk, and
   * a power cut in the middle of writing it leaves a log that does not open.
   */
  readonly walGeometry?: WalGeometry;
  /** Once so much waits in memory it is written to a table. Default 16 * 1024 * 1024. */
  readonly memtableBytes?: number;
  /** So many tables are merged into one in the background. Default 8, at least 2. */
  readonly compactAtTables?: number;
  /** Blocks of tables that reads keep in memory. Default 8 * 1024 * 1024; 0 keeps none. */
  readonly blockCacheBytes?: number;
  /**
   * Whether opening reads every table to its end for its checksum. Default true. Without it, opening does not take longer with
   * more data, and a changed byte in an index or a filter can go unseen; blocks are checked whenever they are read.
   */
  readonly verifyTablesOnOpen?: boolean;
  readonly fs?: FileSystem;
  readonly locks?: Locks;
  readonly clock?: Clock;
}

export type ResolvedOptions = Readonly<Required<LsmOptions>>;

/** Fills in the defaults; a `TypeError` names the option that is wrong. */
export function resolveOptions(options: LsmOptions = {}): ResolvedOptions {
  checkOptions('openLsm', options, OPTIONS);
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const resolved: Required<LsmOptions> = { ...DEFAULTS, ...Object.fromEntries(given) };
  const { segmentBytes, segmentCount } = resolved.walGeometry;
  return Object.freeze({ ...resolved, walGeometry: Object.freeze({ segmentBytes, segmentCount }) });
}

const DEFAULTS: Required<LsmOptions> = Object.freeze({
  createIfMissing: true,
  walGeometry: DEFAULT_GEOMETRY,
  memtableBytes: 16 * MiB,
  compactAtTables: 8,
  blockCacheBytes: 8 * MiB,
  verifyTablesOnOpen: true,
  fs: nodeFileSystem,
  locks: kernelLocks,
  clock: systemClock,
});

const GEOMETRY: Checks<WalGeometry> = {
  segmentBytes: wholeNumber(2 * SEGMENT_HEADER_BYTES, 2 ** 40),
  segmentCount: wholeNumber(2, 4096),
};
const OPTIONS: Checks<LsmOptions> = {
  createIfMissing: optional(aBoolean),
  walGeometry: optional(optionsOf(GEOMETRY)),
  memtableBytes: optional(wholeNumber(1)),
  compactAtTables: optional(wholeNumber(2)),
  blockCacheBytes: optional(wholeNumber(0)),
  verifyTablesOnOpen: optional(aBoolean),
  fs: optional(aFileSystem),
  locks: optional(theLocks),
  clock: optional(aClock),
};
