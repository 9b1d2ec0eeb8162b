import type { Level } from '../options/choices.ts';

/** What reading a data directory, or a copy of one, showed. */

/**
 * - `faithful`: nothing is wrong.
 * - `copy-damaged`: bytes differ from what was read from the source.
 * - `source-damaged`: the copy equals the source and its content does not hold: the database itself is damaged.
 * - `unread`: nothing is wrong as far as it was read, and not all could be read: nobody knows.
 */
export type Verdict = 'faithful' | 'copy-damaged' | 'source-damaged' | 'unread';

/** Whether something is known to be wrong. */
export const isDamaged = ({ verdict }: Pick<Report, 'verdict'>): boolean =>
  verdict === 'copy-damaged' || verdict === 'source-damaged';

export interface Finding {
  /** Relative to the folder that was read, with `/`. */
  readonly path: string;
  /** Byte offset in the file, where there is one. */
  readonly offset: number | null;
  /** Upper case, stable; listed in the README of each engine and in `src/snapshot/README.md`. */
  readonly code: string;
  readonly severity: 'error' | 'warning';
  readonly message: string;
  /** For an error, which side is damaged; the proof as a whole sets it. `unread` for what could not be read. */
  readonly verdict?: Verdict;
}

/** Each is a whole number, 0 or more. */
export interface Counts {
  files: number;
  bytes: number;
  /** Entries in the write-ahead log; a batch is one. */
  walEntries: number;
  /** Decimal u64 of the last entry in the log; null when the log is empty. */
  walLastLsn: string | null;
  tables: number;
  blocks: number;
  /** Entries in the tables, tombstones and old versions included. */
  entries: number;
}

export interface Step {
  readonly name: string;
  readonly durationMs: number;
}

export interface Report {
  /** Everything was read, as far as `level` asks, and is faithful. */
  readonly ok: boolean;
  readonly verdict: Verdict;
  readonly level: Level;
  /** Whether all files were read from the device itself, and not from the memory of the operating system. */
  readonly medium: boolean;
  readonly engine: string;
  readonly steps: readonly Step[];
  readonly counts: Counts;
  readonly findings: readonly Finding[];
}

export const noCounts = (): Counts => ({
  files: 0,
  bytes: 0,
  walEntries: 0,
  walLastLsn: null,
  tables: 0,
  blocks: 0,
  entries: 0,
});
