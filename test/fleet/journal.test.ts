import { appendFileSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { FileSystem } from '../../src/env/file-system.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { type Journal, journalFileOf, openJournal, replayJournal } from '../../src/fleet/journal/journal.ts';
import { sealPlan } from '../../src/fleet/plan/plan.ts';
import type { Receipt } from '../../src/fleet/plan/receipts.ts';
import { executeBackupPlan } from '../../src/fleet/run/run-in-order.ts';
import {
  fleetNode,
  layoutWithPlan,
  planOf,
  receiptsFor,
  SimulatedNodes,
  simulatedExecutor,
} from '../support/fleet.ts';

const PLAN = planOf();

async function opened(plan = PLAN, fs: FileSystem = nodeFileSystem) {
  const { layoutDir, environment } = await layoutWithPlan(plan);
  const journal = await openJournal(fs, layoutDir, plan, 0);
  return { journal, layoutDir, environment, file: journalFileOf(layoutDir) };
}

const preflight = (plan = PLAN) => ({
  type: 'preflight' as const,
  accepted: {
    preflight_id: 'p',
    accepted_at_ms: 0,
    valid_until_ms: 1,
    receipts: receiptsFor({ plan, preflightId: 'p' }),
  },
});
const claim = (sequence: number, attempt = 1) => ({ type: 'claimed' as const, sequence, attempt, at_ms: 0 });

function receipt(sequence: number, more: Partial<Receipt> = {}): Receipt {
  const { operation_id, kind, target_id } = PLAN.operations[sequence]!;
  const { plan_id, run_id } = PLAN;
  const of = { plan_id, run_id, preflight_id: 'p', sequence, operation_id, kind, target_id };
  return { ...of, outcome: 'completed', updated_at_ms: 0, attempt: 1, window: 1, ...more };
}

test.each([
  [7, {}, 'RECEIPT_INVALID', 'has no snapshot id'],
  [7, { snapshot_id: '' }, 'RECEIPT_INVALID', 'does not fit'],
  [13, { snapshot_id: 's' }, 'RECEIPT_INVALID', 'has no artifact path'],
  [14, { snapshot_id: 's' }, 'RECEIPT_INVALID', 'has no checksum'],
  [14, { checksum: 'abc' }, 'RECEIPT_INVALID', 'does not fit'],
  [4, { outcome: 'failed' as const }, 'RECEIPT_INVALID', 'has no failure reason'],
  [4, { target_id: 'b' }, 'RECEIPT_INVALID', 'names another target id'],
  [4, { plan_id: 'other' }, 'RECEIPT_INVALID', 'another plan or run'],
  [4, { run_id: 'other' }, 'RECEIPT_INVALID', 'another plan or run'],
])(
  'operation %i does not end with %j, and the journal stays as it was',
  async (sequence, more, code, message) => {
    const { journal, file } = await opened();
    await journal.commit(preflight());
    await journal.commit(claim(sequence));
    const before = readFileSync(file);
    const ended = journal.commit({ type: 'ended', receipt: receipt(sequence, more) });
    await expect(ended).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    expect(readFileSync(file)).toEqual(before);
    expect(journal.execution.rows[sequence]).toMatchObject({ state: 'pending', receipt: null });
    await journal.close();
  },
);

test('transitions that do not follow are refused', async () => {
  const { journal } = await opened();
  const refused = (record: Parameters<Journal['commit']>[0]) =>
    expect(journal.commit(record)).rejects.toMatchObject({ code: 'JOURNAL_INVALID' });
  await refused(claim(4)); // blocked
  await journal.commit(preflight());
  await refused(claim(0)); // validated already
  await refused(claim(99));
  await refused(claim(4, 2));
  await refused({ type: 'ended', receipt: receipt(4) }); // not claimed
  await journal.commit(claim(4));
  await journal.commit({ type: 'ended', receipt: receipt(4) });
  await refused(claim(4)); // done
  await refused({ type: 'window', unit_id: 'test', window: 3, reason: '', at_ms: 0 });
  await refused({ type: 'window', unit_id: 'none', window: 2, reason: '', at_ms: 0 });
  await refused({ type: 'redownload', target_id: 'c', reason: '', at_ms: 0 });
  await refused({ type: 'artifact', artifact: { target_id: 'c', state: 'Durable', snapshot_id: 's' } });
  await journal.close();
});

test('a new window takes a unit back to its beginning', async () => {
  const { journal, layoutDir } = await opened();
  await journal.commit(preflight());
  await journal.commit(claim(7));
  const artifact = { target_id: 'c', state: 'Created' as const, snapshot_id: 's' };
  await journal.commit({ type: 'ended', receipt: receipt(7, { snapshot_id: 's' }), artifact });
  await journal.commit({ type: 'window', unit_id: 'test', window: 2, reason: 'lost', at_ms: 0 });
  await journal.close();
  const { execution } = (await replayJournal(nodeFileSystem, layoutDir, PLAN))!;
  expect(execution.window('c')).toBe(2);
  expect(execution.artifacts).toEqual([]);
  expect(execution.totals).toMatchObject({ completed: 4, ready: 16 });
});

test('a torn end is cut, wherever it is torn, and what was before it counts', async () => {
  const { journal, layoutDir, file } = await opened();
  await journal.commit(preflight());
  const good = statSync(file).size;
  await journal.commit(claim(4));
  await journal.close();
  const whole = readFileSync(file);
  for (let size = good; size < whole.byteLength; size += 7) {
    truncateSync(file, size);
    const again = await openJournal(nodeFileSystem, layoutDir, PLAN, 0);
    expect(statSync(file).size).toBe(good);
    expect(again.execution.rows[4]!.state).toBe('ready');
    await again.commit(claim(4));
    await again.close();
    expect(readFileSync(file)).toEqual(whole);
  }
  appendFileSync(file, Buffer.alloc(100)); // blocks that were allocated and never written
  const again = await openJournal(nodeFileSystem, layoutDir, PLAN, 0);
  expect(again.execution.rows[4]!.state).toBe('pending');
  await again.close();
  expect(readFileSync(file)).toEqual(whole);
});

test('damage before the end is no torn end', async () => {
  const { journal, layoutDir, file } = await opened();
  await journal.commit(preflight());
  await journal.commit(claim(4));
  await journal.close();
  const bytes = readFileSync(file);
  bytes[20]! ^= 1;
  writeFileSync(file, bytes);
  await expect(openJournal(nodeFileSystem, layoutDir, PLAN, 0)).rejects.toMatchObject({
    code: 'JOURNAL_INVALID',
    message: expect.stringContaining('line 1 is damaged'),
  });
  expect(readFileSync(file)).toEqual(bytes);
});

test('the journal of another plan, or of another version of it, is refused', async () => {
  const { layoutDir, journal } = await opened();
  await journal.close();
  const { plan_sha256: _, ...body } = PLAN;
  for (const plan of [
    planOf({ planId: 'plan-2' }),
    planOf({ runId: 'run-2' }),
    sealPlan({ ...body, fleet: 'other' }),
    planOf({ nodes: [fleetNode('a')] }),
  ])
    await expect(openJournal(nodeFileSystem, layoutDir, plan, 0)).rejects.toMatchObject({
      code: 'JOURNAL_INVALID',
    });
});

test('after a write that failed nothing more is accepted', async () => {
  let isFull = false;
  const fs: FileSystem = {
    ...nodeFileSystem,
    async open(path, how) {
      const file = await nodeFileSystem.open(path, how);
      const write: typeof file.write = (source, position) => {
        if (isFull) throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
        return file.write(source, position);
      };
      return { ...file, write };
    },
  };
  const { journal, layoutDir } = await opened(PLAN, fs);
  await journal.commit(preflight());
  isFull = true;
  await expect(journal.commit(claim(4))).rejects.toMatchObject({ code: 'NO_SPACE' });
  isFull = false;
  await expect(journal.commit(claim(5))).rejects.toMatchObject({ code: 'NO_SPACE' });
  await journal.close();
  const { execution } = (await replayJournal(nodeFileSystem, layoutDir, PLAN))!;
  expect(execution.rows.map(({ state }) => state)).not.toContain('pending');
});

test('what is committed at once shares a frame, and its order stays', async () => {
  const { journal, layoutDir } = await opened();
  await journal.commit(preflight());
  const { frames } = journal.written;
  await Promise.all([4, 5, 6].map((sequence) => journal.commit(claim(sequence))));
  expect(journal.written.frames).toBe(frames + 1);
  await journal.close();
  const { execution } = (await replayJournal(nodeFileSystem, layoutDir, PLAN))!;
  expect(execution.totals.pending).toBe(3);
});

test('a journal with rows that nobody can run is told with its reasons', async () => {
  const { journal, layoutDir, environment } = await opened();
  const { plan_id, run_id, plan_sha256, operations } = PLAN;
  await journal.commit({
    ...{ type: 'state', plan_id, run_id, plan_sha256, operations: operations.length },
    ...{ preflight: { ...preflight().accepted, valid_until_ms: 2 ** 45 }, artifacts: [], windows: [] },
    rows: [0, 1, 2, 3].map((sequence) => ({ sequence, state: 'completed', attempt: 0, receipt: null })),
  });
  await journal.close();
  const run = executeBackupPlan({ layoutDir, environment }, simulatedExecutor(new SimulatedNodes()));
  await expect(run).rejects.toMatchObject({
    code: 'NO_READY_OPERATION',
    data: { reasons: expect.arrayContaining(['stop-c waits for the preflight']) },
  });
});

test('an operation costs the same in the journal of a large fleet', async () => {
  const costs: number[] = [];
  for (const count of [20, 400]) {
    const plan = planOf({ nodes: Array.from({ length: count }, (_, i) => fleetNode(`n${i}`)) });
    const { layoutDir, environment } = await layoutWithPlan(plan);
    const written = { bytes: 0 };
    const executor = simulatedExecutor(new SimulatedNodes());
    const fs = countingJournal(written);
    const response = await executeBackupPlan({ layoutDir, environment: { ...environment, fs } }, executor);
    expect(response.complete).toBe(true);
    costs.push(written.bytes / response.executedOperationCount);
  }
  expect(costs[1]! / costs[0]!).toBeLessThan(1.2);
});

test('a journal with many failed attempts is written anew, and says the same', async () => {
  const { journal, layoutDir } = await opened();
  await journal.commit(preflight());
  const sequence = 4;
  const ATTEMPTS = 3000;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const claimed = journal.commit(claim(sequence, attempt));
    const failed = { outcome: 'failed', failure_reason: 'away', attempt } as const;
    await Promise.all([claimed, journal.commit({ type: 'ended', receipt: receipt(sequence, failed) })]);
  }
  const { execution } = journal;
  expect(journal.written.bytes).toBeGreaterThan(3 * 256 * 1024);
  expect(statSync(journalFileOf(layoutDir)).size).toBeLessThan(3 * 256 * 1024);
  await journal.close();
  const replayed = (await replayJournal(nodeFileSystem, layoutDir, PLAN))!.execution;
  expect(replayed.toRecord()).toEqual(execution.toRecord());
  expect(replayed.rows[sequence]).toMatchObject({ state: 'failed', attempt: ATTEMPTS });
});

const countingJournal = (written: { bytes: number }): FileSystem => ({
  ...nodeFileSystem,
  async open(path, how) {
    const file = await nodeFileSystem.open(path, how);
    if (!path.includes('backup-journal.log')) return file;
    const write: typeof file.write = async (source, position) => {
      const count = await file.write(source, position);
      written.bytes += count;
      return count;
    };
    return { ...file, write };
  },
});
