import { type Command, InvalidArgumentError, Option } from 'commander';
import { ENGINE_NAMES } from '../engine/index.ts';
import { LEVELS } from '../engine/report.ts';
import { LEAST_BYTES_PER_SECOND, type ThrottleOptions } from '../operation/throttle.ts';
import { CLONE_CHOICES } from '../snapshot/tasks/reflinker.ts';
import type { Cli } from './cli.ts';
import { commandEnvironment } from './environment.ts';
import { nonEmpty } from './non-empty.ts';
import { size } from './text.ts';

/** Options that several commands share. */

export const levelOption = (): Option =>
  new Option(
    '--level <level>',
    'how thoroughly: files (checksums), open (and tables and log), full (and every entry)',
  )
    .choices(LEVELS)
    .default('full');

/** `what` becomes a clone. */
export const cloneOption = (what: string): Option =>
  new Option('--clone <choice>', `auto makes copy-on-write clones of ${what} where the file system can`)
    .choices(CLONE_CHOICES)
    .default('never');

export const engineOption = (): Option =>
  new Option('--engine <engine>', 'what wrote the files').choices(['auto', ...ENGINE_NAMES]).default('auto');

export const dataDirOption = (): Option =>
  new Option(
    '--data-dir <dir>',
    'the data directory whose snapshots are meant by "latest", a name or an id',
  ).argParser(nonEmpty);

/** What a command that moves bytes may take of the machine. A host to back off for is not in this process. */
export type ThrottleFlags = Pick<ThrottleOptions, 'maxBytesPerSecond' | 'concurrency'>;

/** `what` it does with bytes. */
export const addThrottleOptions = (command: Command, what: string): Command =>
  command
    .addOption(
      new Option(
        '--max-bytes-per-second <size>',
        `${what} no more than that (500K, 20M; default: no limit)`,
      ).argParser(byteRate),
    )
    .addOption(
      new Option(
        '--concurrency <n>',
        'tasks that compute at once (default: one for each processor)',
      ).argParser(positiveInteger),
    );

export function throttleOptionsOf(
  cli: Cli,
  { maxBytesPerSecond, concurrency }: ThrottleFlags,
): ThrottleFlags {
  const most = commandEnvironment.pool.concurrency;
  if (concurrency !== undefined && concurrency > most)
    cli.output.note(`--concurrency: ${most} at once, not ${concurrency}; more than processors is of no use`);
  return {
    ...(maxBytesPerSecond !== undefined && { maxBytesPerSecond }),
    ...(concurrency !== undefined && { concurrency }),
  };
}

/** For `argParser`: a whole number above 0. */
export function positiveInteger(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('It must be a whole number above 0.');
}

const UNITS = ['', 'K', 'M', 'G', 'T'];

/** For `argParser`: `4096`, `500M`, `1.5G`; units are powers of 1,024. */
export function byteCount(text: string): number {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/i.exec(text) ?? [];
  const value = Math.floor(Number(digits) * 1024 ** UNITS.indexOf(unit.toUpperCase()));
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('It must be a number of bytes above 0, such as 4096, 500M or 2G.');
}

/** For `argParser`: as `byteCount`, and enough for a run to come to an end. */
function byteRate(text: string): number {
  const value = byteCount(text);
  if (value >= LEAST_BYTES_PER_SECOND) return value;
  throw new InvalidArgumentError(`It must be at least ${size(LEAST_BYTES_PER_SECOND)} a second.`);
}

const SECOND_MS = 1000;
const PERIODS: Readonly<Record<string, number>> = {
  s: SECOND_MS,
  m: 60 * SECOND_MS,
  h: 60 * 60 * SECOND_MS,
  d: 24 * 60 * 60 * SECOND_MS,
  w: 7 * 24 * 60 * 60 * SECOND_MS,
};

/** For `argParser`: `90s`, `30m`, `12h`, `7d` or `2w`, in milliseconds. */
export function period(text: string): number {
  const [, digits, unit = 's'] = /^(\d{1,6})([smhdw])$/.exec(text) ?? [];
  const ms = Number(digits) * PERIODS[unit]!;
  if (ms > 0) return ms;
  throw new InvalidArgumentError('It must be a time above 0, such as 30m, 12h or 7d.');
}
