import { InvalidArgumentError } from 'commander';

/** Sizes and times as the command line takes them. */

const UNITS = ['', 'K', 'M', 'G', 'T'];

/** `4096`, `500M`, `1.5G`; units are powers of 1,024. */
export function byteCount(text: string): number {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/i.exec(text) ?? [];
  const value = Math.floor(Number(digits) * 1024 ** UNITS.indexOf(unit.toUpperCase()));
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('It must be a number of bytes above 0, such as 500M or 2G.');
}

const SECOND_MS = 1000;
const PERIODS: Readonly<Record<string, number>> = {
  s: SECOND_MS,
  m: 60 * SECOND_MS,
  h: 60 * 60 * SECOND_MS,
  d: 24 * 60 * 60 * SECOND_MS,
  w: 7 * 24 * 60 * 60 * SECOND_MS,
};

/** `90s`, `30m`, `12h`, `7d` or `2w`, in milliseconds. */
export function period(text: string): number {
  const [, digits, unit = 's'] = /^(\d{1,6})([smhdw])$/.exec(text) ?? [];
  const ms = Number(digits) * PERIODS[unit]!;
  if (ms > 0) return ms;
  throw new InvalidArgumentError('It must be a time above 0, such as 30m, 12h or 7d.');
}
