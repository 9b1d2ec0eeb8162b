import { randomBytes } from 'node:crypto';
import { StillpointError } from '../errors.ts';

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** 26 characters of Crockford's base 32; the first is at most `7`, since the number has 128 bits. */
export const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;

/**
 * A new ULID: 48 bits of time and 80 random bits. ULIDs sort as text by the millisecond in which they were made.
 * Source: https://github.com/ulid/spec.
 */
export function newUlid(nowMs: number): string {
  const bits = (BigInt(nowMs) << 80n) | BigInt(`0x${randomBytes(10).toString('hex')}`);
  let text = '';
  for (let shift = 125n; shift >= 0n; shift -= 5n) text += ALPHABET[Number((bits >> shift) & 31n)];
  return text;
}

export const isUlid = (text: string): boolean => ULID.test(text);

const LAST_TIME_MS = 2 ** 48 - 1;

/** A new ULID that sorts after another one, even if the clock was set back since. `REPOSITORY_INVALID` when none does. */
export function newUlidAfter(nowMs: number, other: string | undefined): string {
  if (other === undefined) return newUlid(nowMs);
  const timeMs = ulidTimeMs(other);
  if (timeMs < LAST_TIME_MS) return newUlid(Math.max(nowMs, timeMs + 1));
  throw new StillpointError('REPOSITORY_INVALID', `no id can follow ${other}: its time is the last one`);
}

/** The moment that a ULID was made for, in milliseconds since 1970. */
export function ulidTimeMs(id: string): number {
  let time = 0;
  for (const digit of id.slice(0, 10)) time = time * 32 + ALPHABET.indexOf(digit);
  return time;
}
