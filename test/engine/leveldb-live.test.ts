import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createLeveldbEngine } from '../../src/engine/leveldb/create-engine.ts';
import { leveldbEngine } from '../../src/engine/leveldb/index.ts';
import { captureInto, prove, readAll, Writer } from '../support/leveldb.ts';
import { COUNTER, WorkloadModel } from '../support/leveldb-workload.ts';
import { temporaryFolder } from '../support/temp.ts';

/** Captures again and again while a second process writes; each copy must be one state of the workload. */
async function captureUnderLoad(engine: typeof leveldbEngine, captures: number): Promise<string[]> {
  const folder = await temporaryFolder();
  const dir = join(folder, 'db');
  const writer = await Writer.start(dir);
  onTestFinished(() => writer.kill());
  const model = new WorkloadModel();
  const ways: string[] = [];
  for (let capture = 0; capture < captures; capture++) {
    const { acknowledged } = await writer.state();
    const copy = join(folder, `copy-${capture}`);
    const plan = await captureInto(engine, dir, copy);
    const { issued } = await writer.state();

    expect((await prove(copy)).findings).toEqual([]);
    const found = await readAll(copy);
    expect(model.difference(found)).toBeUndefined();
    expect(Number(found.get(COUNTER) ?? 0)).toBeGreaterThanOrEqual(acknowledged);
    expect(Number(found.get(COUNTER) ?? 0)).toBeLessThanOrEqual(issued);
    ways.push(plan.rounds!.way);
  }
  // The capture left the source alone: the writer goes on, and what it leaves is whole.
  const { acknowledged } = await writer.stop();
  expect((await prove(dir, 'full', true)).findings.filter(({ severity }) => severity === 'error')).toEqual(
    [],
  );
  const left = await readAll(dir);
  expect(model.difference(left)).toBeUndefined();
  expect(Number(left.get(COUNTER))).toBe(acknowledged);
  return ways;
}

test('a capture beside a writing process is exactly one of its states (invariant 5)', {
  timeout: 60_000,
}, async () => {
  await captureUnderLoad(leveldbEngine, 12);
});

test('a plan in logs-first order captures one state (invariant 5)', { timeout: 60_000 }, async () => {
  const ways = await captureUnderLoad(createLeveldbEngine({ windowRounds: 0 }), 12);
  expect(ways).toEqual(Array(12).fill('logs-first'));
});
