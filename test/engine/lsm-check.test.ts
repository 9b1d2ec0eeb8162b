import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FileCheck } from '../../src/engine/engine.ts';
import { lsmEngine } from '../../src/engine/lsm/index.ts';
import { withFile } from '../../src/env/io.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { crc32 } from '../../src/format/crc32.ts';
import { encodeCheckpoint } from '../../src/format/lsm/checkpoint.ts';
import { decodeTableFooter } from '../../src/format/lsm/table.ts';
import { decodeBlock } from '../../src/format/lsm/table-block.ts';
import { decodeIndex } from '../../src/format/lsm/table-index.ts';
import {
  decodeSectionHeader,
  liveBytes,
  ringBytes,
  ringExtents,
  type WalGeometry,
} from '../../src/format/lsm/wal.ts';
import { WalReplay } from '../../src/format/lsm/wal-replay.ts';
import type { Level } from '../../src/options/choices.ts';
import { copyFixture, describeWithFixtures, fixturesRoot } from '../support/fixtures.ts';
import { resealTable } from '../support/lsm-table.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { temporaryFolder } from '../support/temp.ts';

const fs = nodeFileSystem;

const check = (file: string, path: string, level: Level = 'full', live = false): Promise<FileCheck> =>
  withFile(fs, file, 'read', (open) => lsmEngine.checkFile(open, { path, level, live }, new RunControl()));

async function checkBytes(bytes: Uint8Array, path: string, live = false): Promise<FileCheck> {
  const file = join(await temporaryFolder(), 'file');
  await writeFile(file, bytes);
  return check(file, path, 'full', live);
}

async function checkAll(dir: string, level: Level = 'full'): Promise<Map<string, FileCheck>> {
  const checks = new Map<string, FileCheck>();
  for (const path of await lsmEngine.listFiles(fs, dir))
    checks.set(path, await check(join(dir, path), path, level));
  return checks;
}

const codes = (result: FileCheck) => result.findings.map(({ code }) => code);

describeWithFixtures('lsm', 'real directories', () => {
  const real = join(fixturesRoot, 'lsm');

  it.each([
    ['small', { segmentBytes: 262144, segmentCount: 4 }, 2],
    ['wrapped', { segmentBytes: 1024, segmentCount: 4 }, 3],
  ])('%s holds, and what was read adds up to the live keys', async (name, geometry, tables) => {
    const dir = await copyFixture(`lsm/${name}`);
    expect(await lsmEngine.detect(fs, dir)).toBe(true);
    const checks = await checkAll(dir);
    expect([...checks.values()].flatMap(({ findings }) => findings)).toEqual([]);
    expect(lsmEngine.checkConsistency(checks, { level: 'full', live: false }).findings).toEqual([]);
    for (const [path, result] of checks) {
      const bytes = await readFile(join(dir, path));
      expect(result.crc32, path).toBe(crc32(bytes));
      expect(result.sizeBytes, path).toBe(bytes.byteLength);
    }
    const files = [...checks.values()];
    expect(files.filter(({ counts }) => counts.tables === 1)).toHaveLength(tables);

    const merged = await mergeIndependently(dir, geometry);
    const expected = JSON.parse(await readFile(join(real, `${name}.expected.json`), 'utf8'));
    expect(Object.fromEntries([...merged.live].sort())).toEqual(
      Object.fromEntries(Object.entries(expected).sort()),
    );
    const sum = (pick: (result: FileCheck) => number | undefined) =>
      files.reduce((total, result) => total + (pick(result) ?? 0), 0);
    expect(sum(({ counts }) => counts.entries)).toBe(merged.tableEntries);
    expect(sum(({ counts }) => counts.blocks)).toBe(merged.blocks);
    expect(sum(({ counts }) => counts.walEntries)).toBe(merged.logEntries);
    expect(checks.get('lsm.wal')?.counts.walLastLsn).toBe(String(merged.lastLsn));

    const open = await checkAll(dir, 'open');
    for (const [path, result] of open) expect({ path, ...result }).toEqual({ path, ...checks.get(path) });
    for (const result of (await checkAll(dir, 'files')).values()) {
      expect(result.counts).toEqual({});
      expect(result.facts).toBeUndefined();
    }
  });

  it.each(['one.sst', 'one-nobloom.sst', 'tomb.sst', 'zero.sst'])('vector %s holds', async (name) => {
    const result = await check(join(real, 'vectors', name), 'sst/1.sst');
    expect(result.findings).toEqual([]);
    expect(result.counts.entries).toBe(name === 'zero.sst' ? 0 : name === 'tomb.sst' ? 3 : 1);
  });

  it.each([
    ['empty.wal', 0, null],
    ['put.wal', 1, '1'],
    ['batch.wal', 1, '1'],
    ['wrapped.wal', 5, '9'],
  ])('vector %s holds', async (name, entries, last) => {
    const file = join(real, 'vectors', name);
    const result = await check(file, 'lsm.wal');
    expect(result.findings).toEqual([]);
    expect(result.counts).toEqual({ walEntries: entries, walLastLsn: last });
    expect(result.crc32).toBe(crc32(await readFile(file)));
  });

  it('any flipped bit of a table is found, and changes the CRC of the file', async () => {
    const good = await readFile(join(real, 'wrapped/sst/2.sst'));
    for (let at = 0; at < good.byteLength; at++) {
      const bad = Buffer.from(good);
      bad[at]! ^= 1 << (at & 7);
      const result = await checkInMemory(bad, 'sst/2.sst');
      expect(result.crc32).not.toBe(crc32(good));
      expect(result.crc32).toBe(crc32(bad));
      expect(result.findings.length, `byte ${at}`).toBeGreaterThan(0);
    }
  });

  it('any flipped bit of a log changes its CRC, and is found where the engine would notice it', async () => {
    const good = await readFile(join(real, 'wrapped/lsm.wal'));
    const geometry = { segmentBytes: 1024, segmentCount: 4 };
    const header = decodeSectionHeader(good);
    const seen = new Set<number>();
    for (const { offset, length } of ringExtents(geometry, header.start, liveBytes(geometry, header)))
      for (let at = offset; at < offset + length; at++) seen.add(at);
    for (let index = 0; index < 4; index++) for (let at = 0; at < 28; at++) seen.add(16 + index * 1024 + at);
    for (let at = 0; at < good.byteLength; at++) {
      const bad = Buffer.from(good);
      bad[at]! ^= 1 << (at & 7);
      const result = await checkInMemory(bad, 'lsm.wal');
      expect(result.crc32).toBe(crc32(bad));
      expect(result.crc32).not.toBe(crc32(good));
      if (seen.has(at)) expect(result.findings.length, `byte ${at}`).toBeGreaterThan(0);
    }
  });

  it('names every damaged segment header and the place where the replay stops', async () => {
    const log = await readFile(join(real, 'wrapped/lsm.wal'));
    const header = decodeSectionHeader(log);
    const geometry = { segmentBytes: 1024, segmentCount: 4 };
    const [first] = ringExtents(geometry, header.start, liveBytes(geometry, header));
    log[16 + 1024]! ^= 1;
    log[16 + 3 * 1024 + 7]! ^= 1;
    log[first!.offset + 12]! ^= 1;
    const result = await checkBytes(log, 'lsm.wal');
    expect(result.findings).toMatchObject([
      { code: 'LSM_LOG_SEGMENT', offset: 16 + 1024, severity: 'error', path: 'lsm.wal' },
      { code: 'LSM_LOG_SEGMENT', offset: 16 + 3 * 1024, severity: 'error' },
      { code: 'LSM_LOG_TORN', offset: first!.offset, severity: 'error' },
    ]);
    expect(result.counts).toEqual({ walEntries: 0, walLastLsn: null });
    const live = await checkBytes(log, 'lsm.wal', true);
    expect(live.findings.map(({ severity }) => severity)).toEqual(['error', 'error', 'error']); // later commits follow
  });

  it('distinguishes a log that was cut, one with bytes after its end, and a file that is no log', async () => {
    const log = await readFile(join(real, 'vectors/wrapped.wal'));
    expect(codes(await checkBytes(Buffer.concat([log, Buffer.alloc(5)]), 'lsm.wal'))).toEqual([
      'LSM_LOG_SIZE',
    ]);
    expect(codes(await checkBytes(log.subarray(0, -1), 'lsm.wal'))).toContain('LSM_LOG_CUT');
    expect(codes(await checkBytes(Buffer.alloc(8208), 'lsm.wal'))).toEqual(['LSM_LOG_GEOMETRY']);
    expect(codes(await checkBytes(Buffer.alloc(0), 'lsm.wal'))).toEqual(['LSM_LOG_GEOMETRY']);
    const reserved = Buffer.from(log);
    reserved[16 + 26] = 1;
    expect((await checkBytes(reserved, 'lsm.wal')).findings).toMatchObject([
      { code: 'LSM_LOG_RESERVED', severity: 'warning', offset: 16 },
    ]);
    const outside = Buffer.from(log);
    outside[2] = 1;
    expect(codes(await checkBytes(outside, 'lsm.wal'))).toEqual(['LSM_LOG_SECTION']);
  });

  it('finds in a table what a resealed checksum hides', async () => {
    const one = await readFile(join(real, 'vectors/one.sst'));
    // Footer bytes 24 to 39 are under no checksum.
    const times = Buffer.from(one);
    times[one.byteLength - 48 + 24] = 0;
    times[one.byteLength - 48 + 32] = 9;
    expect((await checkBytes(times, 'sst/1.sst')).findings).toMatchObject([
      { code: 'LSM_TABLE_TIMESTAMPS', offset: 107 + 24 },
      { code: 'LSM_TABLE_TIMESTAMPS', offset: 107 + 32 },
    ]);
    const edited = (...edits: [number, number][]) => {
      const bytes = Buffer.from(one);
      for (const [at, value] of edits) bytes[at] = value;
      return checkBytes(resealTable(bytes), 'sst/1.sst');
    };
    expect(codes(await edited())).toEqual([]);
    expect(codes(await edited([0x69, 0], [0x6a, 0]))).toEqual(['LSM_TABLE_BLOOM']); // bits that deny the key
    expect(codes(await edited([0x61, 200]))).toEqual(['LSM_TABLE_BLOOM']); // hash count
    expect(codes(await edited([7, 1]))).toEqual(['LSM_TABLE_FLAGS']);
    expect(codes(await edited([28, 1]))).toEqual(['LSM_TABLE_RESERVED']);
    expect(codes(await edited([12, 2]))).toEqual(['LSM_TABLE_COUNTS']);
    expect(codes(await edited([20, 2], [24, 0]))).toEqual(['LSM_TABLE_COUNTS', 'LSM_TABLE_COUNTS']);
    expect(codes(await edited([8, 2]))).toEqual(['LSM_TABLE_INDEX', 'LSM_TABLE_COUNTS']);
    expect(codes(await edited([0x5b, 0x6a]))).toEqual(['LSM_TABLE_INDEX']); // another first key
    expect(codes(await edited([0x60, 0x6c]))).toEqual(['LSM_TABLE_INDEX']); // another last key
    expect(codes(await edited([0x4b, 0x40]))).toContain('LSM_TABLE_INDEX'); // a block elsewhere
    expect(codes(await edited([0x42, 0xff]))).toContain('LSM_TABLE_BLOCK_CHECKSUM');
    const appended = Buffer.concat([one.subarray(0, 107), Buffer.from('junk'), one.subarray(107)]);
    expect(codes(await checkBytes(resealTable(appended), 'sst/1.sst'))).toEqual(['LSM_TABLE_LAYOUT']);
  });

  it('survives any bytes in the place of any part of a file', async () => {
    const table = await readFile(join(real, 'vectors/tomb.sst'));
    const log = await readFile(join(real, 'vectors/wrapped.wal'));
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom<[string, Buffer]>(['sst/1.sst', table], ['lsm.wal', log]),
        fc.nat(),
        fc.uint8Array({ minLength: 1, maxLength: 12 }),
        fc.nat(12),
        async ([path, good], at, noise, dropped) => {
          const from = at % good.byteLength;
          const bad = Buffer.concat([good.subarray(0, from), noise, good.subarray(from + dropped)]);
          const result = await checkInMemory(path === 'sst/1.sst' ? resealTable(bad) : bad, path);
          expect(result.sizeBytes).toBe(bad.byteLength);
          if (path === 'lsm.wal') expect(result.crc32).toBe(crc32(bad));
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe('checkpoint.meta', () => {
  const good = encodeCheckpoint({ lsn: 42n, createdAtMs: 123n });

  it('with damage is an error in a snapshot and a warning in a live directory', async () => {
    expect((await checkBytes(good, 'checkpoint.meta')).findings).toEqual([]);
    const bad = Buffer.from(good);
    bad[4]! ^= 1;
    expect((await checkBytes(bad, 'checkpoint.meta')).findings).toMatchObject([
      { code: 'LSM_CHECKPOINT', severity: 'error' },
    ]);
    expect((await checkBytes(bad, 'checkpoint.meta', true)).findings).toMatchObject([
      { code: 'LSM_CHECKPOINT', severity: 'warning' },
    ]);
  });
});

describe('a directory as a whole', () => {
  const blank = { sizeBytes: 1, crc32: 0, findings: [], counts: {} };
  const together = (facts: Record<string, unknown>) =>
    lsmEngine
      .checkConsistency(
        new Map(Object.entries(facts).map(([path, fact]) => [path, { ...blank, facts: fact }])),
        {
          level: 'full',
          live: false,
        },
      )
      .findings.map(({ code, severity }) => `${code} ${severity}`);
  const table = (maxTimestamp: string) => ({
    kind: 'table',
    id: '1',
    entries: '1',
    minTimestamp: '1',
    maxTimestamp,
  });
  const log = (lastLsn: string | null, isWhole = true) => ({ kind: 'log', firstLsn: null, lastLsn, isWhole });

  it('needs its log', () => {
    expect(together({ 'sst/1.sst': table('5') })).toEqual(['LSM_LOG_MISSING error']);
  });

  it('may have tables ahead of the log or of the checkpoint, but not of both', () => {
    const meta = { kind: 'checkpoint', lsn: '5' };
    expect(together({ 'lsm.wal': log(null), 'checkpoint.meta': meta, 'sst/1.sst': table('5') })).toEqual([]);
    expect(together({ 'lsm.wal': log('9'), 'checkpoint.meta': meta, 'sst/1.sst': table('9') })).toEqual([]);
    expect(together({ 'lsm.wal': log('9'), 'sst/1.sst': table('9') })).toEqual([]);
    expect(together({ 'lsm.wal': log('7'), 'checkpoint.meta': meta, 'sst/1.sst': table('9') })).toEqual([
      'LSM_TABLES_AHEAD warning',
    ]);
    // A log whose end is lost knew more than it shows.
    expect(together({ 'lsm.wal': log('7', false), 'sst/1.sst': table('9') })).toEqual([]);
    expect(together({ 'lsm.wal': undefined, 'sst/1.sst': { kind: 'table', maxTimestamp: 'x' } })).toEqual([]);
  });

  it('has no number that leaves none to follow: the database would refuse to open', () => {
    const last = String(1n << 63n);
    const beyond = String((1n << 63n) + 1n);
    const meta = (lsn: string) => ({ kind: 'checkpoint', lsn });
    expect(together({ 'lsm.wal': log(last), 'checkpoint.meta': meta(last) })).toEqual([]);
    const bad = ['LSM_NUMBER error'];
    expect(together({ 'lsm.wal': log(beyond) })).toEqual(bad);
    expect(together({ 'lsm.wal': log(beyond, false) })).toEqual(bad);
    expect(together({ 'lsm.wal': log(null), 'checkpoint.meta': meta(beyond) })).toEqual(bad);
    expect(together({ 'lsm.wal': log(last), [`sst/${beyond}.sst`]: undefined })).toEqual(bad);
  });
});

const checkInMemory = (bytes: Buffer, path: string): Promise<FileCheck> =>
  lsmEngine.checkFile(new MemoryFile(bytes), { path, level: 'full', live: false }, new RunControl());

/** The live keys by the words of the format: all versions of all tables, then the log's entries behind the checkpoint. */
async function mergeIndependently(dir: string, geometry: WalGeometry) {
  const versions: { key: string; at: [bigint, bigint]; value: string | undefined }[] = [];
  let blocks = 0;
  let tableEntries = 0;
  for (const path of await lsmEngine.listFiles(fs, dir)) {
    if (!path.startsWith('sst/')) continue;
    const bytes = await readFile(join(dir, path));
    const footer = decodeTableFooter(bytes.subarray(-48), bytes.byteLength - 48).value!;
    const indexEnd = footer.indexOffset + footer.indexBytes;
    for (const block of decodeIndex(bytes.subarray(footer.indexOffset, indexEnd), footer.indexOffset)
      .value!) {
      blocks++;
      const part = bytes.subarray(block.offset, block.offset + block.sizeBytes);
      for (const entry of decodeBlock(part, block.offset).value!) {
        tableEntries++;
        const value = entry.type === 'put' ? entry.value.toString('hex') : undefined;
        versions.push({ key: entry.key.toString('hex'), at: [entry.timestamp, entry.sequence], value });
      }
    }
  }
  const meta = await readFile(join(dir, 'checkpoint.meta'));
  const log = await readFile(join(dir, 'lsm.wal'));
  const header = decodeSectionHeader(log);
  const live = liveBytes(geometry, header);
  const logical = Buffer.concat(
    ringExtents(geometry, header.start, live).map((e) => log.subarray(e.offset, e.offset + e.length)),
  );
  const range = { start: header.start, liveBytes: live, ringBytes: ringBytes(geometry) };
  const entries = new WalReplay(range).push(logical);
  for (const entry of entries) {
    if (entry.lsn <= meta.readBigUInt64LE(4)) continue;
    for (const [i, op] of entry.ops().entries()) {
      const value = op.type === 'put' ? Buffer.from(op.value).toString('hex') : undefined;
      versions.push({ key: Buffer.from(op.key).toString('hex'), at: [entry.lsn, BigInt(i + 1)], value });
    }
  }
  versions.sort((a, b) => Number(a.at[0] - b.at[0]) || Number(a.at[1] - b.at[1]));
  const map = new Map<string, string>();
  for (const { key, value } of versions) {
    if (value === undefined) map.delete(key);
    else map.set(key, value);
  }
  return { live: map, blocks, tableEntries, logEntries: entries.length, lastLsn: entries.at(-1)?.lsn };
}
