import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LsmOp } from '../../src/lsm-database/batch.ts';
import { type LsmDatabase, openLsm } from '../../src/lsm-database/database.ts';
import type { LsmOptions } from '../../src/lsm-database/options.ts';
import { chanceFrom } from '../support/chance.ts';
import { CrashFileSystem, noLocks } from '../support/crash-file-system.ts';
import { proveLsm } from '../support/lsm.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

const tiny: LsmOptions = {
  walGeometry: { segmentBytes: 600, segmentCount: 4 },
  memtableBytes: 2000,
  compactAtTables: 3,
  blockCacheBytes: 8192,
};

/** A model that keeps its pairs by the hex of their keys, whose order is that of the bytes. */
type Model = Map<string, string>;

function applyTo(model: Model, ops: readonly LsmOp[]): void {
  for (const op of ops) {
    const key = Buffer.from(op.key as string).toString('hex');
    if (op.type === 'put') model.set(key, Buffer.from(op.value as string).toString('hex'));
    else model.delete(key);
  }
}

const sorted = (model: Model): [string, string][] => [...model].sort(([a], [b]) => (a < b ? -1 : 1));

async function collect(walk: AsyncIterable<[Buffer, Buffer]>): Promise<[string, string][]> {
  const pairs: [string, string][] = [];
  for await (const [key, value] of walk) pairs.push([key.toString('hex'), value.toString('hex')]);
  return pairs;
}

const key = fc.oneof(
  fc.constantFrom('', 'a', 'a\0', 'a\0b', 'ab', 'b', 'ÿ', '\x7f\x7f'),
  fc.nat(30).map((n) => `key${n}`),
);
const value = fc.oneof(
  fc.constant(''),
  fc.nat(9).map(String),
  fc.nat(300).map((n) => 'v'.repeat(n)),
);
const op: fc.Arbitrary<LsmOp> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ type: fc.constant('put' as const), key, value }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('delete' as const), key }) },
);
const bounds = fc.record(
  { gte: key, gt: key, lte: key, lt: key, prefix: key, reverse: fc.boolean(), limit: fc.nat(12) },
  { requiredKeys: [] },
);
const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('batch' as const), ops: fc.array(op, { maxLength: 4 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('together' as const),
      batches: fc.array(fc.array(op, { minLength: 1, maxLength: 2 }), { maxLength: 8 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('get' as const), key }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('iterate' as const), bounds }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('checkpoint' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('compact' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reopen' as const) }) },
);

/** The same bounds, asked of the model. */
function ask(model: Model, range: Record<string, unknown>): [string, string][] {
  const hex = (name: string) => Buffer.from(range[name] as string).toString('hex');
  let pairs = sorted(model);
  if (range.gte !== undefined) pairs = pairs.filter(([key]) => key >= hex('gte'));
  if (range.gt !== undefined) pairs = pairs.filter(([key]) => key > hex('gt'));
  if (range.lte !== undefined) pairs = pairs.filter(([key]) => key <= hex('lte'));
  if (range.lt !== undefined) pairs = pairs.filter(([key]) => key < hex('lt'));
  if (range.prefix !== undefined) pairs = pairs.filter(([key]) => key.startsWith(hex('prefix')));
  if (range.reverse === true) pairs.reverse();
  return pairs.slice(0, (range.limit as number | undefined) ?? pairs.length);
}

describe('the lsm database', () => {
  it('does what a sorted map does, through flushes, compactions and reopening', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 80 }), async (steps) => {
        const fs = new CrashFileSystem();
        const open = () => openLsm('/db', { ...tiny, fs, locks: noLocks });
        const model: Model = new Map();
        let database = await open();
        for (const now of steps) {
          if (now.do === 'batch') {
            await database.batch(now.ops);
            applyTo(model, now.ops);
          } else if (now.do === 'together') {
            const lsns = await Promise.all(now.batches.map((ops) => database.batch(ops)));
            const order = lsns.map(({ lsn }, i) => ({ lsn: BigInt(lsn), ops: now.batches[i]! }));
            order.sort((a, b) => (a.lsn < b.lsn ? -1 : 1));
            for (const { ops } of order) applyTo(model, ops);
          } else if (now.do === 'get') {
            const expected = model.get(Buffer.from(now.key).toString('hex'));
            expect((await database.get(now.key))?.toString('hex')).toBe(expected);
          } else if (now.do === 'iterate') {
            const { bounds } = now as { bounds: Record<string, unknown> };
            expect(await collect(database.iterate(bounds))).toEqual(ask(model, bounds));
          } else if (now.do === 'checkpoint') {
            await database.checkpoint();
            expect(database.stats()).toMatchObject({ logUsedBytes: 0, memtableBytes: 0, frozenMemtables: 0 });
          } else if (now.do === 'compact') {
            await database.compact();
          } else {
            await database.close();
            database = await open();
          }
        }
        expect(await collect(database.iterate())).toEqual(sorted(model));
        expect(await collect(database.iterate({ reverse: true }))).toEqual(sorted(model).reverse());
        expect(database.stats().compactionFailure).toBeUndefined();
        await database.close();
      }),
      { numRuns: perTier(20, 60) },
    );
  });

  it('writes files to a real disk that the proof finds no damage in', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(op, { maxLength: 4 }), { minLength: 20, maxLength: 60 }),
        async (batches) => {
          const dir = await temporaryFolder();
          const database = await openLsm(dir, tiny);
          const model: Model = new Map();
          for (const ops of batches) {
            await database.batch(ops);
            applyTo(model, ops);
          }
          await database.close();
          expect(await proveLsm(dir)).toEqual([]);
          const again = await openLsm(dir, tiny);
          expect(await collect(again.iterate())).toEqual(sorted(model));
          await again.close();
        },
      ),
      { numRuns: 6 },
    );
  });
});

describe('after a power failure at any moment', () => {
  function anyOps(chance: () => number): LsmOp[] {
    return Array.from({ length: 1 + Math.floor(chance() * 3) }, (): LsmOp => {
      const key = `key${Math.floor(chance() * 12)}`;
      if (chance() < 0.25) return { type: 'delete', key };
      return { type: 'put', key, value: 'v'.repeat(Math.floor(chance() * 200)) + chance() };
    });
  }

  /** Entries of one size: what stood in the ring before begins exactly where new ones begin. */
  function equalOps(chance: () => number): LsmOp[] {
    const key = String.fromCharCode(97 + Math.floor(chance() * 12));
    return [{ type: 'put', key, value: chance().toFixed(12).padEnd(120, '.') }];
  }

  /** Writers at work; returns what was acknowledged and calls back before each change on disk. */
  async function work(
    database: LsmDatabase,
    chance: () => number,
    makeOps: (chance: () => number) => LsmOp[],
    written: Map<bigint, LsmOp[]>,
    onAck: (lsn: bigint) => void,
  ) {
    const writer = async (): Promise<void> => {
      for (let i = 0; i < 12; i++) {
        const ops = makeOps(chance);
        const lsn = BigInt((await database.batch(ops)).lsn);
        written.set(lsn, ops);
        onAck(lsn);
        if (chance() < 0.06) await database.checkpoint();
        if (chance() < 0.06) await database.compact();
      }
    };
    await Promise.all(Array.from({ length: 5 }, writer));
  }

  function stateAt(written: Map<bigint, LsmOp[]>, lsn: bigint): [string, string][] {
    const model: Model = new Map();
    for (const [at, ops] of [...written].sort(([a], [b]) => (a < b ? -1 : 1)))
      if (at <= lsn) applyTo(model, ops);
    return sorted(model);
  }

  it('has every acknowledged commit, and none without all before it', async () => {
    const geometries = [
      { segmentBytes: 600, segmentCount: 4 },
      { segmentBytes: 5000, segmentCount: 2 },
      { segmentBytes: 2048, segmentCount: 8 },
    ];
    let cuts = 0;
    for (let seed = 1; seed <= 24; seed++) {
      const chance = chanceFrom(seed);
      const options = { ...tiny, walGeometry: geometries[seed % geometries.length]!, locks: noLocks };
      let fs = new CrashFileSystem();
      let written = new Map<bigint, LsmOp[]>();
      // Each round begins with what a crash in the round before has left.
      for (let round = 0; round < 3; round++) {
        const database = await openLsm('/db', { ...options, fs });
        let acknowledged = 0n;
        const crashes: { disk: CrashFileSystem; acknowledged: bigint }[] = [];
        fs.onOperation = ({ isChange }) => {
          if (isChange && chance() < 0.05) crashes.push({ disk: fs.after(chance), acknowledged });
        };
        await work(database, chance, seed % 2 === 0 ? anyOps : equalOps, written, (lsn) => {
          if (lsn > acknowledged) acknowledged = lsn;
        });
        await database.close();
        expect(database.stats().compactionFailure).toBeUndefined();
        let last: { disk: CrashFileSystem; lsn: bigint } | undefined;
        for (const crash of crashes) {
          const recovered = await openLsm('/db', { ...options, fs: crash.disk });
          const lsn = BigInt(recovered.stats().lastLsn);
          expect(lsn >= crash.acknowledged).toBe(true);
          expect(await collect(recovered.iterate()), `seed ${seed}, round ${round}`).toEqual(
            stateAt(written, lsn),
          );
          await recovered.close();
          last = { disk: crash.disk, lsn };
          cuts++;
        }
        if (last === undefined) break;
        fs = last.disk;
        written = new Map([...written].filter(([lsn]) => lsn <= last.lsn));
      }
    }
    expect(cuts).toBeGreaterThan(300);
  });
});
