import { appendFileSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { expect, test } from 'vitest';
import { makeFolders } from '../../src/env/io.ts';
import { nodeFileSystem as fs } from '../../src/env/node-file-system.ts';
import { hintOf, StillpointError } from '../../src/errors.ts';
import { BackupCoordinator, Lifecycle, Snapshots } from '../../src/index.ts';
import { lineageOf } from '../../src/operation/lineage.ts';
import { RunRecords } from '../../src/operation/records.ts';
import { Run } from '../../src/operation/run.ts';
import { type RunRecord, recordSchema } from '../../src/operation/run-record.ts';
import { toJson } from '../../src/options/casing.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { plainDirectory } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

const record = (id: string, status: RunRecord['state']['status'] = 'completed'): RunRecord => ({
  id,
  kind: 'backup',
  location: `/nowhere/${id}`,
  state: {
    status,
    startedAtMs: 1,
    finishedAtMs: status === 'running' ? null : 2,
    progress: null,
    reason: null,
    code: null,
    hint: null,
    phase: null,
    filesProcessed: null,
    filesTotal: null,
  },
  metadata: null,
  undo: null,
  upkeep: null,
});

const idsOf = async (records: RunRecords) => (await records.read()).map(({ id }) => id);

/** The real file system; counts the bytes that are read. */
function counting() {
  let bytes = 0;
  const counted: typeof fs = {
    ...fs,
    async open(path, how) {
      const file = await fs.open(path, how);
      const read = async (target: Uint8Array, position: number) => {
        const count = await file.read(target, position);
        bytes += count;
        return count;
      };
      return { ...file, read };
    },
  };
  return { fs: counted, readBytes: () => bytes };
}

async function newLayout() {
  const layout = layoutOf(await temporaryFolder());
  await makeFolders(fs, layout.backup);
  return layout;
}

test('records: a later look reads what was appended since, and not the whole file', async () => {
  const layout = await newLayout();
  const { fs: counted, readBytes } = counting();
  const [ours, others] = [new RunRecords(counted, layout), new RunRecords(fs, layout)];
  for (let i = 0; i < 500; i++) await others.end(record(`run-${i}`));
  expect(await ours.read()).toHaveLength(500);
  const whole = readBytes();
  await others.end(record('one more'));
  await ours.end(record('and ours'));
  expect(await ours.find('one more')).toEqual(record('one more'));
  expect((await idsOf(ours)).slice(-2)).toEqual(['one more', 'and ours']);
  expect(readBytes() - whole).toBeLessThan(whole / 50);
});

test('records: a file that was replaced, cut short or removed is read anew', async () => {
  const layout = await newLayout();
  const records = new RunRecords(fs, layout);
  for (const id of ['a', 'b', 'c']) await records.end(record(id));
  expect(await idsOf(records)).toEqual(['a', 'b', 'c']);
  const lines = readFileSync(layout.records, 'utf8').split('\n');
  writeFileSync(`${layout.records}.new`, lines.slice(1).join('\n'));
  renameSync(`${layout.records}.new`, layout.records);
  expect(await idsOf(records)).toEqual(['b', 'c']);
  writeFileSync(layout.records, lines[1]!);
  expect(await idsOf(records)).toEqual(['b']);
  // What a crash cuts off is no record until it is whole.
  appendFileSync(layout.records, `\n${lines[2]!.slice(0, 30)}`);
  expect(await idsOf(records)).toEqual(['b']);
  appendFileSync(layout.records, lines[2]!.slice(30));
  expect(await idsOf(records)).toEqual(['b', 'c']);
  rmSync(layout.records);
  expect(await idsOf(records)).toEqual([]);
});

test('records: the oldest runs are dropped, and the file stays small', async () => {
  const layout = await newLayout();
  const lines = Array.from({ length: 2_001 }, (_, i) =>
    JSON.stringify({
      id: `run-${i}`,
      kind: 'backup',
      location: '/nowhere',
      state: {
        status: 'completed',
        started_at_ms: 1,
        finished_at_ms: 2,
        progress: null,
        reason: null,
        code: null,
        phase: null,
        files_processed: null,
        files_total: null,
      },
      metadata: null,
    }),
  );
  writeFileSync(layout.records, lines.join('\n'));
  const records = new RunRecords(fs, layout);
  expect(await records.closeInterrupted(3)).toEqual([]);
  const ids = await idsOf(records);
  expect([ids.length, ids[0], ids.at(-1)]).toEqual([1_000, 'run-1001', 'run-2000']);
});

test('records: where the data came from is never dropped', async () => {
  const layout = await newLayout();
  await makeFolders(fs, dirname(layout.records));
  const damaged: RunRecord = {
    ...record('damaged'),
    state: { ...record('damaged', 'failed').state, code: 'SOURCE_DAMAGED' },
  };
  const restored: RunRecord = { ...record('restored'), kind: 'restore', undo: 'ts-5' };
  const records = new RunRecords(fs, layout);
  for (const each of [record('early'), damaged, record('between'), restored]) await records.end(each);
  const many = Array.from({ length: 2_000 }, (_, i) => ({
    ...JSON.parse(readFileSync(layout.records, 'utf8').split('\n')[0]!),
    id: `later-${i}`,
  }));
  appendFileSync(layout.records, `\n${many.map((each) => JSON.stringify(each)).join('\n')}`);
  await records.closeInterrupted(3);
  expect((await idsOf(records)).slice(0, 3)).toEqual(['damaged', 'restored', 'later-1000']);
  const { now, inUndo, putBackFrom } = lineageOf(await records.read());
  expect(now).toEqual({ base: '/nowhere/early', from: undefined, damage: undefined });
  expect(inUndo('ts-5').damage?.id).toBe('damaged');
  expect(putBackFrom).toBeUndefined();
});

test('records: of those that tell where the data came from, the newest 200 stay', async () => {
  const layout = await newLayout();
  const records = new RunRecords(fs, layout);
  await records.end({ ...record('0'), kind: 'restore', undo: 'ts-5' });
  const line = JSON.parse(readFileSync(layout.records, 'utf8'));
  const telling = Array.from({ length: 300 }, (_, i) => ({ ...line, id: `restore-${i}` }));
  const later = Array.from({ length: 2_000 }, (_, i) => ({
    ...line,
    kind: 'backup',
    undo: null,
    id: `later-${i}`,
  }));
  appendFileSync(
    layout.records,
    `\n${[...telling, ...later].map((each) => JSON.stringify(each)).join('\n')}`,
  );
  await records.closeInterrupted(3);
  const ids = await idsOf(records);
  expect([ids.length, ids[0], ids[199], ids[200]]).toEqual([
    1_200,
    'restore-100',
    'restore-299',
    'later-1000',
  ]);
});

test('records: a line without a field that came later is read all the same', async () => {
  const layout = await newLayout();
  const progress = { percent: 1, bytes_processed: 1, bytes_total: 1 };
  const { state: stateSchema } = recordSchema.shape;
  const state = {
    ...Object.fromEntries(Object.keys(stateSchema.shape).map((name) => [name, null])),
    progress,
  };
  const line = {
    id: 'whole',
    kind: 'backup',
    location: '/nowhere',
    state: { ...state, status: 'completed' },
    metadata: null,
    undo: null,
    upkeep: null,
  };
  expect(Object.keys(line).sort()).toEqual(Object.keys(recordSchema.shape).sort());
  const without = (value: object, name: string) =>
    Object.fromEntries(Object.entries(value).filter(([other]) => other !== name));
  const fields = (value: object, first: readonly string[]) =>
    Object.keys(value).filter((name) => !first.includes(name));
  const lines: object[] = [
    line,
    ...fields(line, ['id', 'kind', 'location', 'state']).map((name) => ({
      ...without(line, name),
      id: name,
    })),
    ...fields(state, ['status']).map((name) => ({ ...line, id: name, state: without(line.state, name) })),
    ...Object.keys(progress).map((name) => ({
      ...line,
      id: name,
      state: { ...line.state, progress: without(progress, name) },
    })),
  ];
  expect(lines).toHaveLength(16);
  writeFileSync(layout.records, lines.map((one) => JSON.stringify(one)).join('\n'));
  expect(await idsOf(new RunRecords(fs, layout))).toEqual(lines.map((one) => (one as RunRecord).id));
});

test('records: what failed says what to do about it, and so does a line of an earlier version', async () => {
  const layout = await newLayout();
  const old = { ...record('old', 'failed').state, code: 'NO_SPACE', hint: undefined };
  const lines = [
    { ...record('old'), state: toJson(old) },
    { ...record('cut off'), state: { status: 'running' } },
  ];
  writeFileSync(layout.records, lines.map((one) => JSON.stringify(one)).join('\n'));
  const records = new RunRecords(fs, layout);
  await records.closeInterrupted(3);
  const run = new Run(systemEnvironment.clock, 'new', 'backup', '/nowhere', () => {});
  run.fail(new StillpointError('IO_ERROR', 'no', { hint: 'Plug it in.' }));
  await records.end(run.record);
  const hints = (await new RunRecords(fs, layout).read()).map(({ state }) => state.hint);
  expect(hints).toEqual([hintOf('NO_SPACE'), hintOf('INTERRUPTED'), 'Plug it in.']);
});

test('records: a run that nobody could read again is not put on record', async () => {
  const layout = await newLayout();
  const records = new RunRecords(fs, layout);
  const unreadable = { ...record('x'), location: undefined as never };
  await expect(records.begin(unreadable)).rejects.toMatchObject({ code: 'INTERNAL' });
  await expect(records.end(unreadable)).rejects.toMatchObject({ code: 'INTERNAL' });
  await records.end(record('y'));
  expect(await idsOf(records)).toEqual(['y']);
});

test('a name is never used again: not that of a removed snapshot, nor that of a failed run', async () => {
  const dataDir = await plainDirectory();
  const clock = { ...systemEnvironment.clock, nowMs: () => 5_000 };
  const lifecycle = new Lifecycle({ dataDir, environment: { ...systemEnvironment, clock } });
  const backup = new BackupCoordinator({ dataDir, engine: 'files', lifecycle });
  const first = await backup.backup();
  const second = await backup.backup();
  const failing = await backup.startBackup({ probe: () => Promise.reject(new Error('no')) });
  await expect(backup.finished(failing.id)).rejects.toMatchObject({ code: 'HOOK_FAILED' });
  await new Snapshots({ dataDir, lifecycle }).delete(first.name);
  const later = await backup.backup();
  const names = [first.location, second.location, failing.location, later.location];
  expect(names.map((location) => location.slice(dirname(location).length + 1))).toEqual([
    'ts-5',
    'ts-5-2',
    'ts-5-3',
    'ts-5-4',
  ]);
});
