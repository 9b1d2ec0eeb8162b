import { statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';

export interface BenchOptions {
  /** Where the data is made; a file system on a disk. */
  readonly dir: string;
  /** Of one data set; the scaling curves run from a quarter to four times of it. */
  readonly sizeBytes: number;
  /** The size at which `link` is measured once more; 0: not at all. */
  readonly largeBytes: number;
  readonly rounds: number;
  /** Names of parts; empty: all. */
  readonly only: readonly string[];
  readonly json?: string;
  readonly svgDir?: string;
  readonly isQuick: boolean;
  /** How many files the curve over files has. */
  readonly fileCounts: readonly number[];
  /** Of one phase of the host in one round; over all rounds it comes to at least 20 seconds. */
  readonly phaseMs: number;
  /** How often whole processes are started. */
  readonly starts: number;
}

const UNITS: Readonly<Record<string, number>> = { '': 1, B: 1, KB: 1e3, MB: 1e6, GB: 1e9 };

/** `1GB`, `250MB`, `4096`; units are powers of 1000. */
export function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMG]?B)?$/i.exec(text);
  if (match === null) throw new InvalidArgumentError('a size is a number with B, KB, MB or GB, as in 1GB.');
  return Math.round(Number(match[1]) * UNITS[(match[2] ?? '').toUpperCase()]!);
}

const atLeast =
  (low: number, parse: (text: string) => number = Number) =>
  (text: string): number => {
    const value = parse(text);
    if (!Number.isSafeInteger(value) || value < low) throw new InvalidArgumentError(`at least ${low}.`);
    return value;
  };

function existingFolder(text: string): string {
  if (!statSync(text, { throwIfNoEntry: false })?.isDirectory()) {
    throw new InvalidArgumentError('there is no such folder.');
  }
  return resolve(text);
}

const SMALLEST_BYTES = 8e6;

export function parseOptions(args: readonly string[], parts: readonly string[]): BenchOptions {
  const partNames = (text: string): string[] => {
    const names = text.split(',');
    const unknown = names.filter((name) => !parts.includes(name));
    if (unknown.length > 0) throw new InvalidArgumentError(`choose of ${parts.join(', ')}.`);
    return names;
  };
  const values = new Command('npm run bench --')
    .description(
      'Measures snapshots, proofs and restores beside the tools people know, on data that it makes and removes again.',
    )
    .option('--size <bytes>', 'size of one data set (default: 1GB)', atLeast(SMALLEST_BYTES, parseBytes))
    .option(
      '--large <bytes>',
      'size of the large one of `link`; 0: none (default: 10GB)',
      atLeast(0, parseBytes),
    )
    .option('--rounds <count>', 'rounds, after one that warms up (default: 5)', atLeast(1))
    .option('--only <parts>', `of ${parts.join(', ')}`, partNames)
    .option('--dir <folder>', 'where the data is made', existingFolder, tmpdir())
    .option('--json <file>', 'write machine, rows and all times there')
    .option('--svg-dir <folder>', 'draw the scaling curves there')
    .option('--quick', 'seconds instead of minutes; the figures mean nothing', false)
    .parse(args, { from: 'user' })
    .opts<{
      size?: number;
      large?: number;
      rounds?: number;
      only?: string[];
      dir: string;
      json?: string;
      svgDir?: string;
      quick: boolean;
    }>();
  const isQuick = values.quick;
  const rounds = values.rounds ?? (isQuick ? 2 : 5);
  return {
    dir: values.dir,
    sizeBytes: values.size ?? (isQuick ? 16e6 : 1e9),
    largeBytes: values.large ?? (isQuick ? 32e6 : 10e9),
    rounds,
    only: values.only ?? [],
    ...(values.json !== undefined && { json: values.json }),
    ...(values.svgDir !== undefined && { svgDir: values.svgDir }),
    isQuick,
    fileCounts: isQuick ? [10, 32, 100] : [100, 316, 1_000, 3_162, 10_000],
    phaseMs: isQuick ? 500 : Math.ceil(20_000 / rounds),
    starts: isQuick ? 3 : Math.max(20, rounds),
  };
}
