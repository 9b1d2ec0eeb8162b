import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { leveldbEngine } from '../../src/engine/leveldb/index.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { describeWithFixtures, fixturesRoot } from '../support/fixtures.ts';
import { captureInto, prove, readAll } from '../support/leveldb.ts';
import { namesOf } from '../support/leveldb-folders.ts';
import { describeWith } from '../support/needs.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

const folder = mkdtempSync(join(tmpdir(), 'stillpoint-google-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const program = join(folder, 'leveldb-writer');
const source = fileURLToPath(new URL('../support/leveldb-writer.cc', import.meta.url));
const compiled = spawnSync('g++', ['-std=c++17', '-o', program, source, '-lleveldb'], { encoding: 'utf8' });

type Settings = Readonly<Record<string, number>>;
const argumentsOf = (dir: string, settings: Settings): string[] => [
  dir,
  ...Object.entries(settings).map(([name, value]) => `${name}=${value}`),
];
const write = (dir: string, settings: Settings): void => {
  execFileSync(program, argumentsOf(dir, settings), { stdio: 'pipe' });
};

const NEEDED = 'g++ and the development files of LevelDB';
const NAME = "folders that Google's LevelDB wrote are proven and captured without a finding";

describeWith(NEEDED, compiled.status === 0, NAME, () => {
  const cases: Readonly<Record<string, readonly Settings[]>> = {
    'an empty database': [{}],
    '100,000 keys, with snappy': [{ count: 100_000 }],
    '100,000 keys, without snappy, with filters': [{ count: 100_000, snappy: 0, bloom: 1 }],
    '100,000 keys, compacted, a third deleted': [{ count: 100_000, bloom: 1, deleteEvery: 3, compact: 1 }],
    'small blocks and small buffers': [{ count: 30_000, blockSize: 128, writeBuffer: 65_536, bloom: 1 }],
    'values over 32 KiB': [{ count: 300, valueBytes: 50_000 }],
    'values over 4 MB': [{ count: 6, valueBytes: 5_000_000, bloom: 1, snappy: 0 }],
    'opened again with logs and MANIFEST used on': [
      { count: 500, reuseLogs: 1 },
      { count: 500, first: 300, reuseLogs: 1, deleteEvery: 5 },
      { count: 2000, first: 900, reuseLogs: 1, valueBytes: 3000 },
      { count: 10, reuseLogs: 1 },
    ],
    'opened again and again': [{ count: 500 }, { count: 500, first: 250 }, { count: 500, snappy: 0 }, {}],
  };
  for (const [name, openings] of Object.entries(cases)) {
    test(name, { timeout: 30_000 }, async () => {
      const dir = join(await temporaryFolder(), 'db');
      for (const settings of openings) write(dir, settings);
      expect(await leveldbEngine.detect(nodeFileSystem, dir)).toBe(true);
      expect(errorsOf(await prove(dir, 'full', true))).toEqual([]);
      await captureInto(leveldbEngine, dir, `${dir}-copy`);
      const { findings, checks } = await prove(`${dir}-copy`);
      expect(findings).toEqual([]);
      expect(operationsIn(checks)).toBeGreaterThanOrEqual(
        Math.max(...openings.map(({ count = 0 }) => count / 2)),
      );
    });
  }

  const tables = perTier(500, 2000);
  test(`${tables} tables`, { timeout: 60_000 }, async () => {
    const dir = join(await temporaryFolder(), 'db');
    write(dir, { count: 70 * tables, valueBytes: 1000, writeBuffer: 65_536, bloom: 1 });
    await captureInto(leveldbEngine, dir, `${dir}-copy`);
    expect((await namesOf(`${dir}-copy`, /\.ldb$/)).length).toBeGreaterThan(tables);
    expect((await prove(`${dir}-copy`)).findings).toEqual([]);
  });

  test('killed while it wrote values that take several writes each', { timeout: 30_000 }, async () => {
    for (let round = 0; round < 5; round++) {
      const dir = join(await temporaryFolder(), 'db');
      const settings = {
        forever: 1,
        valueBytes: 1 + 70_000 * (round % 2),
        writeBuffer: 65_536 * (1 + 30 * (round % 2)),
      };
      const child = spawn(program, argumentsOf(dir, settings), { stdio: ['ignore', 'pipe', 'inherit'] });
      for (let lines = 0; lines <= round % 3; lines++) await once(child.stdout, 'data');
      child.kill('SIGKILL');
      await once(child, 'exit');
      expect(errorsOf(await prove(dir, 'full', true))).toEqual([]);
      await captureInto(leveldbEngine, dir, `${dir}-copy`);
      expect((await prove(`${dir}-copy`)).findings).toEqual([]);
    }
  });

  test('a comparator of its own: everything but the order is proven', async () => {
    const dir = join(await temporaryFolder(), 'db');
    write(dir, { count: 20_000, reverse: 1, bloom: 1, compact: 1 });
    const { findings } = await prove(dir);
    expect(findings).toMatchObject([{ code: 'LEVELDB_COMPARATOR', severity: 'warning' }]);
    expect(findings[0]!.message).toContain('test.Reverse');
  });
});

const errorsOf = ({ findings }: Awaited<ReturnType<typeof prove>>) =>
  findings.filter(({ severity }) => severity === 'error');

/** Entries in tables and, at least one a batch, in logs. */
function operationsIn(checks: Awaited<ReturnType<typeof prove>>['checks']): number {
  let sum = 0;
  for (const { counts } of checks.values()) sum += (counts.entries ?? 0) + (counts.walEntries ?? 0);
  return sum;
}

describeWithFixtures(
  'hunt/unfinished-then-reused',
  'a log that was used again behind an unfinished write',
  () => {
    test('is captured with a warning, and LevelDB reads all that was acknowledged', async () => {
      const parent = await temporaryFolder();
      const archive = join(fixturesRoot, 'hunt/unfinished-then-reused/db.tar.gz');
      execFileSync('tar', ['-xzf', archive, '-C', parent]);
      await captureInto(leveldbEngine, join(parent, 'db'), join(parent, 'copy'));
      const { findings } = await prove(join(parent, 'copy'));
      expect(findings).toMatchObject([{ code: 'LEVELDB_LOG_UNFINISHED', severity: 'warning' }]);
      expect((await readAll(join(parent, 'copy'))).size).toBe(4);
    });
  },
);
