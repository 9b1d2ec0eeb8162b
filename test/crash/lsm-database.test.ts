import assert from 'node:assert/strict';
import { expect, test } from 'vitest';
import { verifySnapshot } from '../../src/index.ts';
import type { LsmOp } from '../../src/lsm-database/batch.ts';
import { CrashFileSystem } from '../support/crash-file-system.ts';
import { describeCoverage, everyCrash, type Flow } from '../support/crash-matrix.ts';
import { openLsmIn } from '../support/crash-subjects.ts';
import type { World } from '../support/crash-world.ts';
import { dumpLsm } from '../support/lsm.ts';

const DIR = '/disk/data';
/** Flushes, compactions and turns of the ring within a few commits; entries longer than a sector, and shorter ones. */
const BUSY = {
  walGeometry: { segmentBytes: 1536, segmentCount: 3 },
  memtableBytes: 3000,
  compactAtTables: 3,
};

const hex = (text: string): string => Buffer.from(text).toString('hex');

/** Writers that share syncs, checkpoints, a hold, a compaction, and a second process; the promise is the last LSN that was acknowledged. */
async function databaseFlow(): Promise<Flow> {
  const written: { readonly lsn: bigint; readonly ops: readonly LsmOp[] }[] = [];
  const before = new CrashFileSystem();
  await before.makeFolder('/disk');
  const open = (world: World) => openLsmIn(world, DIR, BUSY);

  const stateAt = (lsn: bigint): Record<string, string> => {
    const pairs = new Map<string, string>();
    for (const { ops } of written
      .filter((commit) => commit.lsn <= lsn)
      .sort((a, b) => Number(a.lsn - b.lsn))) {
      for (const op of ops) {
        if (op.type === 'put') pairs.set(hex(String(op.key)), hex(String(op.value)));
        else pairs.delete(hex(String(op.key)));
      }
    }
    return Object.fromEntries([...pairs].sort(([a], [b]) => (a < b ? -1 : 1)));
  };

  return {
    name: 'lsm: commits, flushes, checkpoints, compactions, a hold, opening again',
    before: before.after('none'),
    async run(world, reached) {
      let database = await open(world);
      let count = 0;
      const commit = async (): Promise<void> => {
        const n = count++;
        const value = `${n}:`.repeat(n % 3 === 0 ? 250 : 30);
        const ops: LsmOp[] = [{ type: 'put', key: `k${n % 7}`, value }];
        if (n % 4 === 3) ops.push({ type: 'delete', key: `k${(n + 3) % 7}` });
        const lsn = BigInt((await database.batch(ops)).lsn);
        written.push({ lsn, ops });
        reached(String(lsn));
      };
      const commits = (number: number) => Promise.all(Array.from({ length: number }, commit));
      for (let round = 0; round < 3; round++) await commits(3);
      await database.checkpoint();
      await commits(2);
      const hold = await database.hold();
      await commits(2);
      hold.release();
      await database.compact();
      await commits(3);
      await database.close();
      database = await open(world);
      await commits(2);
      await database.checkpoint();
      await database.close();
    },
    async recover(world) {
      await (await open(world)).close();
    },
    async check(world, promise) {
      const database = await open(world);
      const { lastLsn } = database.stats();
      assert.ok(
        BigInt(lastLsn) >= BigInt(promise || '0'),
        `${promise} was acknowledged, ${lastLsn} is there`,
      );
      const state = stateAt(BigInt(lastLsn));
      assert.deepEqual(await dumpLsm(database), state, `not the state of ${lastLsn} (5)`);
      await database.put('after', 'all');
      await database.checkpoint();
      await database.close();
      const report = await verifySnapshot(DIR, { environment: world.environment });
      assert.deepEqual(report.findings, []);
      const again = await open(world);
      assert.deepEqual(await dumpLsm(again), { ...state, [hex('after')]: hex('all') });
      await again.close();
    },
  };
}

test('a crash at any moment leaves every acknowledged commit, and none without all before it (invariant 5)', async () => {
  const flow = await databaseFlow();
  const coverage = await everyCrash(flow);
  console.log(describeCoverage(flow.name, coverage));
  expect(coverage.points).toBeGreaterThan(100);
});
