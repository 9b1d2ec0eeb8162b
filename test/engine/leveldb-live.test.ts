import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createLeveldbEngine } from '../../src/engine/leveldb/create-engine.ts';
import { leveldbEngine } from '../../src/engine/leveldb/index.ts';
import type { FileSystem } from '../../src/env/file-system.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { captureInto, prove, readAll, Writer } from '../support/leveldb.ts';
import { encodeBatch, encodeLog } from '../support/leveldb-encoders.ts';
import { fill, namesOf, writeFolder } from '../support/leveldb-folders.ts';
import { COUNTER, WorkloadModel } from '../support/leveldb-workload.ts';
import { planContext } from '../support/plan-context.ts';
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

test('of two logs, the older one is taken with all that was written before the newer one (invariant 5)', async () => {
  const dir = await writeFolder(join(await temporaryFolder(), 'db'), (db) => fill(db, 100));
  const [older] = await namesOf(dir, /\.log$/);
  const newer = '900000.log';
  await writeFile(join(dir, newer), '');
  const { length } = await readFile(join(dir, older!));
  const write = (sequence: bigint, offset = 0) =>
    encodeLog([encodeBatch(sequence, [{ type: 'delete', key: Buffer.from('k') }])], offset);
  let isWritten = false;
  const fs: FileSystem = {
    ...nodeFileSystem,
    async open(path, how) {
      const file = await nodeFileSystem.open(path, how);
      if (!path.endsWith('.log')) return file;
      return {
        ...file,
        async stat() {
          const stat = await file.stat();
          // The database writes on between the looks at the two: to the older log first, then to the newer.
          if (!isWritten) {
            isWritten = true;
            await appendFile(join(dir, older!), write(101n, length));
            await writeFile(join(dir, newer), write(102n));
          }
          return stat;
        },
      };
    },
  };
  const { context } = await planContext(fs, dir);
  const plan = await leveldbEngine.plan(context);
  await plan.dispose!();
  const itemOf = (name: string) => plan.items.find(({ path }) => path === name);
  expect(itemOf(older!)).toMatchObject({ sizeBytes: (await readFile(join(dir, older!))).length });
  expect(itemOf(newer)).toMatchObject({ sizeBytes: 0 });
});
