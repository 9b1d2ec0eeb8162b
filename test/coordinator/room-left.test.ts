import { expect, test } from 'vitest';
import { roomLeft } from '../../src/coordinator/room-left.ts';
import type { ListedSnapshot } from '../../src/snapshot/store/standing.ts';

const MiB = 1024 * 1024;
const HOUR_MS = 60 * 60 * 1000;
const next = { databaseBytes: 10 * MiB, neededBytes: 0 };

const snapshot = (atHours: number, diskBytes: number, ownBytes: number) =>
  ({ createdAtMs: atHours * HOUR_MS, diskBytes, ownBytes }) as ListedSnapshot;

const total = (diskBytes: number) => ({ count: 0, damaged: 0, totalBytes: 0, diskBytes });

test('how long the disk lasts is said from what later snapshots added, and from how long that is', () => {
  const snapshots = [snapshot(0, 10 * MiB, 0), snapshot(7, 11 * MiB, MiB), snapshot(3, 10 * MiB, 0)];
  // 7 MiB in 7 hours: 24 MiB a day.
  expect(roomLeft({ snapshots, total: total(17 * MiB), freeBytes: 240 * MiB, next })).toEqual({
    text: 'full in about 10 d if none is removed: snapshots added 24 MiB a day (from only 7 h)',
    bytesPerDay: 24 * MiB,
    fromMs: 7 * HOUR_MS,
    fullInMs: 240 * HOUR_MS,
  });
  const months = [snapshot(0, 10 * MiB, 0), snapshot(30 * 24, 10 * MiB, MiB)];
  expect(roomLeft({ snapshots: months, total: total(70 * MiB), freeBytes: 240 * MiB, next }).text).toBe(
    'full in about 120 d if none is removed: snapshots added 2.0 MiB a day (from 30 d)',
  );
});

test('what is said of the time to come reaches a hundred times as far as what was seen, and no further', () => {
  const snapshots = [snapshot(0, 10 * MiB, 0), snapshot(2, 10 * MiB, 1024)];
  const { text, fullInMs } = roomLeft({ snapshots, total: total(11 * MiB), freeBytes: 500 * MiB, next });
  expect(text).toBe(
    'full not before 8 d have passed if none is removed: snapshots added 12 MiB a day (from only 2 h)',
  );
  expect(fullInMs).toBeNull();
});

test('without a rate, what fits is said: snapshots like the last, and full copies', () => {
  const freeBytes = 105 * MiB;
  const left = (snapshots: ListedSnapshot[]) =>
    roomLeft({ snapshots, total: total(20 * MiB), freeBytes, next });
  const unknown = { bytesPerDay: null, fromMs: null, fullInMs: null };
  const full = 'room for 10 snapshots that share nothing';
  expect(left([])).toEqual({ ...unknown, text: full });
  expect(left([snapshot(0, 10 * MiB, 2 * MiB)])).toEqual({
    ...unknown,
    text: `room for 52 snapshots like the last, which took 2.0 MiB of its own; ${full}`,
  });
  // Minutes say nothing of days.
  expect(left([snapshot(0, 10 * MiB, 0), snapshot(0.5, 10 * MiB, 0)])).toEqual({
    ...unknown,
    text: `the last snapshot took no space of its own; ${full}`,
  });
  // A larger number would say more than anybody knows.
  expect(left([snapshot(0, 10 * MiB, 1)]).text).toMatch(/^room for more than 999 snapshots like the last, /);
  expect(roomLeft({ snapshots: [], total: total(0), freeBytes, next: null })).toEqual({
    ...unknown,
    text: '',
  });
});
