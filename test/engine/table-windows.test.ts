import { expect, test, vi } from 'vitest';
import { RunControl } from '../../src/env/run-control.ts';
import { crc32 } from '../../src/format/crc32.ts';
import { crc32c } from '../../src/format/crc32c.ts';
import { type Below, mutate } from '../fuzz/mutate.ts';
import { type Check, check, NUMBERS, scriptCheck, TABLES } from '../support/any-table.ts';
import { craftTable, entry as leveldbEntry } from '../support/leveldb-table.ts';
import { buildTable, entry as lsmEntry } from '../support/lsm-table.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { seeded } from '../support/seeded.ts';
import { perTier } from '../support/tier.ts';

// Tables are proven in windows of many blocks. Where the edges of the windows lie must make no difference.

/** The same with windows of so many bytes. */
async function checkInWindows(bytes: number): Promise<Check> {
  vi.resetModules();
  const { engineByName: engineAnew } = await import('../../src/engine/index.ts');
  const { Scanner: ScannerAnew } = await import('../../src/format/scan/scanner.ts');
  const create = ScannerAnew.create.bind(ScannerAnew);
  vi.spyOn(ScannerAnew, 'create').mockImplementation(() => create(2 * bytes));
  return (engine, path, table) => {
    const request = { path, level: 'full', live: false } as const;
    return engineAnew(engine).checkFile(new MemoryFile(table), request, new RunControl());
  };
}

test.each(['lsm', 'leveldb'] as const)(
  'windows of any size, with edges anywhere in a table of %s, find the same',
  async (engine) => {
    const { path, make, fix } = TABLES[engine];
    const random = seeded(20261126);
    const below: Below = (limit) => Math.floor(random() * limit);
    const byScript = await scriptCheck();
    let bad = 0;
    for (const bytes of [
      ...Array.from({ length: perTier(40, 400) }, () => 1 + below(6000)),
      64,
      1000,
      65536,
    ]) {
      const inWindows = await checkInWindows(bytes);
      for (let round = 0; round < 8; round++) {
        const table = make(below, round > 2);
        if (round > 5) {
          const damaged = mutate(table, below, { words: NUMBERS, other: table, maxBytes: 200_000 });
          if (round === 7) fix(damaged);
          damaged.copy(table);
        }
        const found = await inWindows(engine, path, table);
        expect(found, `windows of ${bytes}, round ${round}`).toEqual(await byScript(engine, path, table));
        if (found.findings.length > 0) bad++;
      }
    }
    expect(bad).toBeGreaterThan(60);
    vi.restoreAllMocks();
  },
);

test.each(['lsm', 'leveldb'] as const)(
  'one flipped bit anywhere in the blocks of a table of %s is found',
  async (engine) => {
    const { path, make } = TABLES[engine];
    const random = seeded(5);
    const below: Below = (limit) => Math.floor(random() * limit);
    const table = make(below, true);
    const inWindows = await checkInWindows(4096);
    for (let flip = 0; flip < 300; flip++) {
      const flipped = Buffer.from(table);
      flipped[below(table.length)]! ^= 1 << below(8);
      expect((await inWindows(engine, path, flipped)).findings.length, `flip ${flip}`).toBeGreaterThan(0);
    }
    vi.restoreAllMocks();
  },
);

/** Four bytes at `at` so that `sum` of the whole becomes `wanted`: a checksum is linear in each bit. */
function patchTo(bytes: Buffer, at: number, wanted: number, sum: (bytes: Buffer) => number): Buffer {
  const base = sum(bytes);
  const rows: { delta: number; bits: number }[] = [];
  for (let bit = 0; bit < 32; bit++) {
    const flipped = Buffer.from(bytes);
    flipped[at + (bit >> 3)]! ^= 1 << (bit & 7);
    let delta = (sum(flipped) ^ base) >>> 0;
    let bits = (1 << bit) >>> 0;
    for (const row of rows)
      if ((delta ^ row.delta) >>> 0 < delta)
        [delta, bits] = [(delta ^ row.delta) >>> 0, (bits ^ row.bits) >>> 0];
    rows.push({ delta, bits });
    rows.sort((a, b) => b.delta - a.delta);
  }
  let rest = (wanted ^ base) >>> 0;
  const patched = Buffer.from(bytes);
  for (const { delta, bits } of rows) {
    if ((rest ^ delta) >>> 0 >= rest) continue;
    rest = (rest ^ delta) >>> 0;
    for (let bit = 0; bit < 32; bit++) if ((bits >>> bit) & 1) patched[at + (bit >> 3)]! ^= 1 << (bit & 7);
  }
  expect(sum(patched)).toBe(wanted);
  return patched;
}

test('damage of two blocks made so that their sums cancel changes the other checksum of the manifest', async () => {
  const values = ['a', 'b', 'c'].map((key) => `${key}${'v'.repeat(2000)}`);
  const crafted = {
    lsm: {
      sum: crc32,
      other: 'crc32c' as const,
      table: buildTable(values.map((value, i) => [lsmEntry('abc'[i]!, 1, value)])),
    },
    leveldb: {
      sum: crc32c,
      other: 'crc32' as const,
      table: craftTable({ blocks: values.map((value, i) => [leveldbEntry('abc'[i]!, 1, 1, value)]) }),
    },
  };
  for (const engine of ['lsm', 'leveldb'] as const) {
    const { sum, other, table } = crafted[engine];
    const { path } = TABLES[engine];
    const first = Buffer.from(table);
    first[1000]! ^= 1;
    const damaged = patchTo(first, 3000, sum(table), sum);
    expect(damaged.equals(table)).toBe(false);
    const [whole, found] = [await check(engine, path, table), await check(engine, path, damaged)];
    expect(found[other]).not.toBe(whole[other]);
  }
});
