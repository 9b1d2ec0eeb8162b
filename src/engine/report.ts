import type { Level } from '../options/choices.ts';

/** What reading a data directory, or a copy of one, showed. */

/**
 * - `faithful`: nothing is wrong.
 * - `copy-damaged`: bytes differ from what was read from the source.
 * - `source-damaged`: the copy equals the source and its content does not hold: the database itself is damaged.
 */
export type Verdict = 'faithful' | 'copy-damaged' | 'source-damaged';

export interface Finding {
  /** Relative to the folder that was read, with `/`. */
  readonly path: string;
  /** Byte offset in the file, where there is one. */
  readonly offset: number | null;
  /** Upper case, stable; listed in the README of each engine and in `src/snapshot/README.md`. */
  readonly code: string;
  readonly severity: 'error' | 'warning';
  readonly message: string;
  /** For an error, which side is damaged; the proof as a whole sets it. */
  readonly verdict?: Verdict;
}

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
  readonly ok: boolean;
  readonly verdict: Verdict;
  readonly level: Level;
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
