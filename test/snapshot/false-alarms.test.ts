import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BackupCoordinator, Lifecycle, verifySnapshot } from '../../src/index.ts';
import { openLsm } from '../../src/lsm-database/database.ts';
import { LEVELS } from '../../src/options/choices.ts';
import { chanceFrom } from '../support/chance.ts';
import { copyFixture, describeWithFixtures } from '../support/fixtures.ts';
import { inlineEnvironment as environment } from '../support/inline.ts';
import { writeFolder } from '../support/leveldb-folders.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

// What is healthy is never called damaged: random workloads of both engines.

const SNAPSHOTS = perTier(40, 2000);
const PER_DATABASE = 4;

type Operation = { type: 'put'; key: Buffer; value: Buffer } | { type: 'del'; key: Buffer };

class Workload {
  readonly #chance: () => number;

  constructor(seed: number) {
    this.#chance = chanceFrom(seed);
  }

  below(limit: number): number {
    return Math.floor(this.#chance() * limit);
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  /** Few keys again and again, with all the bytes there are in them; now and then a long one, an empty value, a large one. */
  operation(): Operation {
    const length = this.pick([1, 2, 2, 3, 3, 3, 20, this.below(10) === 0 ? 3000 : 4]);
    const key = Buffer.from(Array.from({ length }, () => this.pick([0, 1, 0x61, 0x62, 0x7f, 0x80, 0xff])));
    if (this.below(5) === 0) return { type: 'del', key };
    const size = this.pick([0, 0, 1, 30, 200, 200, 1000, this.below(20) === 0 ? 9000 : 100]);
    const value = this.below(2) === 0 ? Buffer.alloc(size) : Buffer.alloc(size, `${this.below(1000)} `);
    return { type: 'put', key, value };
  }

  batch(): Operation[] {
    return Array.from({ length: 1 + this.below(12) }, () => this.operation());
  }
}

const tally = { snapshots: 0, reports: 0 };

async function expectHealthy(location: string, what: string): Promise<void> {
  for (const level of LEVELS) {
    const { ok, verdict, findings } = await verifySnapshot(location, { level, environment });
    expect({ ok, verdict, findings }, `${what}, level ${level}`).toEqual({
      ok: true,
      verdict: 'faithful',
      findings: [],
    });
    tally.reports++;
  }
  tally.snapshots++;
}

async function lsmDatabase(seed: number): Promise<void> {
  const work = new Workload(seed);
  const dir = await temporaryFolder();
  const database = await openLsm(dir, {
    walGeometry: { segmentBytes: 16_384 + work.below(50_000), segmentCount: 2 + work.below(6) },
    memtableBytes: 1000 + work.below(60_000),
    compactAtTables: 2 + work.below(6),
  });
  const lifecycle = new Lifecycle({ dataDir: dir, environment });
  for (let turn = 0; turn < PER_DATABASE; turn++) {
    for (let writes = work.below(60); writes > 0; writes--) {
      const operations = work
        .batch()
        .map((operation) =>
          operation.type === 'put' ? operation : { type: 'delete' as const, key: operation.key },
        );
      await database.batch(operations);
    }
    if (work.below(4) === 0) await database.checkpoint();
    if (work.below(4) === 0) await database.compact();
    const hooked = work.below(3) > 0;
    const backup = new BackupCoordinator({
      dataDir: dir,
      lifecycle,
      ...(hooked ? { checkpoint: () => database.hold() } : { engine: 'lsm' as const }),
    });
    const options = { mode: work.pick(['copy', 'copy', 'link'] as const), reuse: work.below(3) > 0 };
    const { location, report } = await backup.backup(options);
    expect(report.findings, `lsm, seed ${seed}`).toEqual([]);
    await expectHealthy(
      location,
      `lsm, seed ${seed}, turn ${turn}, ${JSON.stringify(options)}, hook ${hooked}`,
    );
  }
  await database.close();
  const live = await verifySnapshot(dir, { environment });
  expect([live.ok, live.findings], `lsm, seed ${seed}, closed`).toEqual([true, []]);
}

async function leveldbDatabase(seed: number): Promise<void> {
  const work = new Workload(seed);
  const dir = join(await temporaryFolder(), 'db');
  const backup = new BackupCoordinator({
    dataDir: dir,
    engine: 'leveldb',
    lifecycle: new Lifecycle({ dataDir: dir, environment }),
  });
  const snapshot = async (turn: number, isOpen: boolean) => {
    const options = { mode: work.pick(['copy', 'copy', 'link'] as const), reuse: work.below(3) > 0 };
    const { location, report } = await backup.backup(options);
    const what = `leveldb, seed ${seed}, turn ${turn}, ${JSON.stringify(options)}, open ${isOpen}`;
    expect(report.findings, what).toEqual([]);
    await expectHealthy(location, what);
  };
  for (let turn = 0; turn < PER_DATABASE; turn++) {
    const isOpen = work.below(2) === 0;
    const options = {
      compression: work.below(2) === 0,
      writeBufferSize: 4096 * (16 + work.below(40)),
      blockSize: work.pick([256, 4096, 16_384]),
      blockRestartInterval: work.pick([1, 2, 16]),
    };
    await writeFolder(
      dir,
      async (db) => {
        const encodings = { keyEncoding: 'buffer', valueEncoding: 'buffer' } as const;
        for (let writes = work.below(60); writes > 0; writes--)
          await db.batch<Buffer, Buffer>(work.batch(), encodings);
        if (work.below(4) === 0) await db.compactRange('', '\uffff');
        if (isOpen) await snapshot(turn, isOpen);
      },
      options,
    );
    if (!isOpen) await snapshot(turn, isOpen);
  }
}

describe('no false alarm', { timeout: 60_000 + SNAPSHOTS * 1000 }, () => {
  test.each([
    ['lsm', lsmDatabase],
    ['leveldb', leveldbDatabase],
  ] as const)('over snapshots of random %s databases', async (_, database) => {
    for (let seed = 1; seed <= SNAPSHOTS / 2 / PER_DATABASE; seed++) await database(seed);
  });

  describeWithFixtures('lsm', 'over directories that the original engine wrote', () => {
    test.each(['small', 'wrapped'])('lsm/%s, and snapshots of it', async (name) => {
      const dir = await copyFixture(`lsm/${name}`);
      for (const level of LEVELS) {
        const { ok, findings } = await verifySnapshot(dir, { level, environment });
        const told = findings.filter(({ code }) => code !== 'NOTHING_TO_COMPARE');
        expect([ok, told], `${name}, level ${level}`).toEqual([true, []]);
      }
      const lifecycle = new Lifecycle({ dataDir: dir, environment });
      for (const mode of ['copy', 'link'] as const) {
        const { location } = await new BackupCoordinator({ dataDir: dir, engine: 'lsm', lifecycle }).backup({
          mode,
        });
        await expectHealthy(location, `${name}, ${mode}`);
      }
    });
  });

  test('and that was enough', () => {
    console.log(`${tally.snapshots} healthy snapshots, ${tally.reports} reports, no finding`);
    expect(tally.snapshots).toBeGreaterThanOrEqual(
      Math.floor(SNAPSHOTS / 2 / PER_DATABASE) * 2 * PER_DATABASE,
    );
  });
});
