import type { Data } from './data.ts';
import type { Times } from './measure.ts';
import type { BenchOptions } from './options.ts';
import type { Spread } from './stats.ts';
import type { Chart } from './svg.ts';

/** What every part gets. */
export interface Bench {
  readonly options: BenchOptions;
  readonly root: string;
  readonly data: Data;
  readonly tools: Readonly<Record<string, string | null>>;
  /** A folder that does not exist, for copies. */
  readonly target: string;
}

/** One line of the table at the end. */
export interface Row {
  /** Number of the measure. */
  readonly measure: number;
  readonly what: string;
  readonly measured: string;
  /** Ours over theirs, or null where nothing is compared. */
  readonly ratio: Spread | null;
  readonly target: string;
  /** Null: it could not be said. */
  readonly isMet: boolean | null;
  /** What the machine itself needs for the same, measured in the same run. */
  readonly limit: string;
}

export interface PartResult {
  readonly rows: readonly Row[];
  readonly times?: Times;
  readonly charts?: readonly Chart[];
  /** Raw figures that are no times of ways. */
  readonly raw?: unknown;
}

export interface Part {
  readonly name: string;
  readonly measures: string;
  run(bench: Bench): Promise<PartResult>;
}

/** The way `ours` held against the way `theirs`, by the byte. */
export interface Comparison {
  readonly measure: number;
  readonly what: string;
  readonly ours: string;
  readonly theirs: string;
  readonly limit: string;
  /** The target: at most so many times as long. */
  readonly most: number;
  /** Say speeds and ask how many times as fast: `most` is then the inverse. */
  readonly isSpeed?: boolean;
}

export function compare(times: Times, comparison: Comparison): Row {
  const { measure, what, ours, theirs, limit, most, isSpeed = false } = comparison;
  const show = (name: string) => (isSpeed ? speed(times, name) : seconds(times.ms(name).median));
  const target = isSpeed ? `≥ ${1 / most} × as fast` : `≤ ${most} ×`;
  const limits = times.has(limit) ? `${limit} ${show(limit)}` : '';
  if (!times.has(theirs)) {
    return {
      measure,
      what,
      measured: `${show(ours)}; not installed: ${theirs}`,
      ratio: null,
      target,
      isMet: null,
      limit: limits,
    };
  }
  const ratio = isSpeed ? times.ratio(theirs, ours) : times.ratio(ours, theirs);
  const isMet = isSpeed ? ratio.median >= 1 / most : ratio.median <= most;
  return {
    measure,
    what,
    measured: `${show(ours)}; ${theirs} ${show(theirs)}`,
    ratio,
    target,
    isMet,
    limit: limits,
  };
}

export const seconds = (ms: number): string =>
  ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(2)} s`;

const speed = (times: Times, name: string): string =>
  `${(times.bytes(name) / 1e3 / times.ms(name).median).toFixed(0)} MB/s`;

export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
