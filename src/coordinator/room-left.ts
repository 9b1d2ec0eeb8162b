import { age } from '../options/age.ts';
import { size } from '../options/size.ts';
import type { NextSnapshot } from '../snapshot/capture/next-snapshot.ts';
import type { ListedSnapshot, SnapshotTotal } from '../snapshot/store/standing.ts';

/** How long the disk of the snapshots lasts, as far as the snapshots that stand there say. */
export interface RoomLeft {
  /** A clause: what it comes from, too. */
  readonly text: string;
  /** What snapshots added in a day; null where they stand too close together to say. */
  readonly bytesPerDay: number | null;
  /** The time from the first of them to the last, in milliseconds. */
  readonly fromMs: number | null;
  /** How long until the disk is full, in milliseconds, if none is removed; null where nobody knows. */
  readonly fullInMs: number | null;
}

const HOUR_MS = 60 * 60 * 1000;
const DAY_MS = 24 * HOUR_MS;
/** Snapshots of less say nothing of a rate, and those of less than a week little. */
const LEAST_MS = HOUR_MS;
const MUCH_MS = 7 * DAY_MS;
/** So many times the time that was seen is the most that is said of the time to come. */
const REACH = 100;

interface Facts {
  readonly snapshots: readonly ListedSnapshot[];
  readonly total: SnapshotTotal;
  readonly freeBytes: number;
  readonly next: NextSnapshot | null;
}

export function roomLeft({ snapshots, total, freeBytes, next }: Facts): RoomLeft {
  const known = snapshots
    .filter(({ diskBytes }) => diskBytes !== null)
    .toSorted((a, b) => a.createdAtMs - b.createdAtMs);
  const [first] = known;
  const last = known.at(-1);
  const unknown = { bytesPerDay: null, fromMs: null, fullInMs: null };
  if (first === undefined || last === undefined) return { ...unknown, text: copies(freeBytes, next) };
  const fromMs = last.createdAtMs - first.createdAtMs;
  // A file that several share counts once: that is what those after the first added.
  const added = total.diskBytes - (first.diskBytes ?? 0);
  if (fromMs < LEAST_MS || added <= 0) {
    return {
      ...unknown,
      text: [likeTheLast(freeBytes, last), copies(freeBytes, next)].filter(Boolean).join('; '),
    };
  }
  const bytesPerDay = Math.round((added / fromMs) * DAY_MS);
  const fullInMs = Math.round((freeBytes / added) * fromMs);
  const isFar = fullInMs > REACH * fromMs;
  const when = isFar ? `not before ${age(REACH * fromMs)} have passed` : `in about ${age(fullInMs)}`;
  const from = `${fromMs < MUCH_MS ? 'from only' : 'from'} ${age(fromMs)}`;
  return {
    text: `full ${when} if none is removed: snapshots added ${size(bytesPerDay)} a day (${from})`,
    bytesPerDay,
    fromMs,
    fullInMs: isFar ? null : fullInMs,
  };
}

/** By what the disk would get back of the last one. */
function likeTheLast(freeBytes: number, { ownBytes }: ListedSnapshot): string {
  if (ownBytes === null) return '';
  if (ownBytes === 0) return 'the last snapshot took no space of its own';
  return `room for ${many(freeBytes / ownBytes)} like the last, which took ${size(ownBytes)} of its own`;
}

/** The worst case: nothing is shared. */
function copies(freeBytes: number, next: NextSnapshot | null): string {
  if (next === null || next.databaseBytes === 0) return '';
  return `room for ${many(freeBytes / next.databaseBytes)} that share nothing`;
}

const MOST = 999;

const many = (count: number): string => {
  const whole = Math.floor(count);
  return whole > MOST ? `more than ${MOST} snapshots` : `${whole} snapshot${whole === 1 ? '' : 's'}`;
};
