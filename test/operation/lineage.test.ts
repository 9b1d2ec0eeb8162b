import { expect, test } from 'vitest';
import { lineageOf } from '../../src/operation/lineage.ts';
import { type RunRecord, recordSchema } from '../../src/operation/run-record.ts';
import { fromJson } from '../../src/options/casing.ts';

// What a data directory and its undo folders hold, told from records alone.

const DIR = '/srv/data';
const KEPT = `${DIR}/.lifecycle`;

function run(
  kind: RunRecord['kind'],
  [startedAtMs, finishedAtMs]: readonly [number, number],
  { location = DIR, undo = null, code = null }: Partial<RunRecord & { code: string | null }> = {},
): RunRecord {
  const json = {
    id: `${kind}-${startedAtMs}`,
    kind,
    location,
    state: {
      status: code === null ? 'completed' : 'failed',
      started_at_ms: startedAtMs,
      finished_at_ms: finishedAtMs,
      progress: null,
      reason: null,
      code,
      hint: null,
      phase: null,
      files_processed: null,
      files_total: null,
    },
    metadata: null,
    undo,
    upkeep: null,
  };
  return fromJson(recordSchema.parse(json));
}

const SNAPSHOT = `${KEPT}/backup/ts-1`;
const damaged = { code: 'SOURCE_DAMAGED' };
const damageOf = (runs: readonly RunRecord[]) => lineageOf(runs).now.damage?.id;

test('a clean look takes back only damage that was found before it began', () => {
  const found = run('backup', [1, 9], damaged);
  expect(damageOf([run('verify', [2, 5]), found])).toBe(found.id);
  expect(damageOf([found, run('verify', [8, 12])])).toBe(found.id);
  expect(damageOf([found, run('verify', [9, 12])])).toBeUndefined();
});

test('every kind of snapshot can find the database damaged, and no look at a snapshot does', () => {
  for (const kind of ['backup', 'archive', 'export', 'transient'] as const) {
    expect(damageOf([run(kind, [1, 2], damaged)])).toBe(`${kind}-1`);
  }
  expect(damageOf([run('verify', [1, 2], { ...damaged, location: SNAPSHOT })])).toBeUndefined();
  expect(damageOf([run('verify', [1, 2], { ...damaged, location: `${KEPT}/backup` })])).toBeUndefined();
  expect(damageOf([run('verify', [1, 2], { ...damaged, location: '/srv/backup' })])).toBe('verify-1');
});

test('a look during a restore is one at what that replaced', () => {
  const restore = run('restore', [1, 6], { location: SNAPSHOT, undo: 'ts-6' });
  const { now, inUndo } = lineageOf([restore, run('verify', [3, 8], damaged)]);
  expect([now.damage, inUndo('ts-6').damage?.id]).toEqual([undefined, 'verify-3']);
  // What seems to be of before may be a clock that was set back.
  for (const later of [run('backup', [3, 4], damaged), run('verify', [0, 8], damaged)])
    expect(damageOf([restore, later])).toBe(later.id);
  const found = run('verify', [1, 2], damaged);
  const undo = run('undo', [20, 24], { location: `${KEPT}/restore-backup/ts-10`, undo: 'ts-24' });
  const back = [found, run('restore', [5, 10], { location: SNAPSHOT, undo: 'ts-10' }), undo];
  expect(damageOf([...back, run('verify', [22, 30])])).toBe(found.id);
  expect(damageOf([...back, run('verify', [24, 30])])).toBeUndefined();
});

test('of an undo folder that no record tells of, the worst is taken', () => {
  const found = run('verify', [1, 2], damaged);
  const runs = [run('backup', [0, 1], { location: SNAPSHOT }), found, run('verify', [3, 4])];
  expect(lineageOf(runs).inUndo('ts-0').damage).toBe(found);
  const undone = lineageOf([...runs, run('undo', [5, 6], { location: `${KEPT}/restore-backup/ts-0` })]);
  expect(undone.now.damage).toBe(found);
  expect(undone.putBackFrom).toBe(`${KEPT}/restore-backup/ts-0`);
});
