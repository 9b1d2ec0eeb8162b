import { InvalidArgumentError } from 'commander';
import { periodMs } from '../options/period.ts';

/** Sizes and times as the command line takes them. */

const UNITS = ['', 'K', 'M', 'G', 'T'];

/** `4096`, `500M`, `1.5G`; units are powers of 1,024. */
export function byteCount(text: string): number {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/i.exec(text) ?? [];
  const value = Math.floor(Number(digits) * 1024 ** UNITS.indexOf(unit.toUpperCase()));
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('It must be a number of bytes above 0, such as 500M or 2G.');
}

/** `90s`, `30m`, `12h`, `7d` or `2w`, in milliseconds. */
export function period(text: string): number {
  const ms = periodMs(text);
  if (ms !== undefined) return ms;
  throw new InvalidArgumentError('It must be a time above 0, such as 30m, 12h or 7d.');
}
