import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32 } from '../../src/format/crc32.ts';
import {
  BloomBuilder,
  bloomShape,
  decodeBloom,
  encodeBloom,
  mayContain,
} from '../../src/format/lsm/bloom.ts';
import {
  decodeTableFooter,
  decodeTableHeader,
  encodeTableFooter,
  encodeTableHeader,
  gapDamage,
  layoutDamage,
  MIN_TABLE_BYTES,
  TABLE_FOOTER_BYTES,
} from '../../src/format/lsm/table.ts';
import {
  blockDamage,
  compareEntries,
  decodeBlock,
  type TableEntry,
} from '../../src/format/lsm/table-block.ts';
import { TableBuilder } from '../../src/format/lsm/table-builder.ts';
import { decodeIndex, findBlock, indexDamage } from '../../src/format/lsm/table-index.ts';
import { describeWithFixtures, fixturesRoot } from '../support/fixtures.ts';

const put = (key: string, timestamp: bigint, value = '', sequence = 1n): TableEntry => ({
  type: 'put',
  timestamp,
  sequence,
  key: Buffer.from(key),
  value: Buffer.from(value),
});

function build(entries: readonly TableEntry[], bloom = true): Buffer {
  const builder = new TableBuilder({ bloom });
  const blocks = entries.map((entry) => builder.add(entry)).filter((block) => block !== undefined);
  const { header, tail, sizeBytes } = builder.finish();
  const file = Buffer.concat([header, ...blocks, tail]);
  expect(file.byteLength).toBe(sizeBytes);
  return file;
}

/** Everything a table says, and all damage that the decoders report on the way. */
function dissect(file: Buffer) {
  const damage: string[] = [];
  const note = <T>(decoded: { value?: T; damage?: { code: string } | undefined }): T | undefined => {
    if (decoded.damage !== undefined) damage.push(decoded.damage.code);
    return decoded.value;
  };
  const entries: TableEntry[] = [];
  const header = note(decodeTableHeader(file));
  const footerAt = file.byteLength - TABLE_FOOTER_BYTES;
  const footer = note(decodeTableFooter(file.subarray(Math.max(footerAt, 0)), footerAt));
  if (header === undefined || footer === undefined) return { damage, entries };
  if (footer.crc32 !== crc32(file.subarray(0, footerAt))) damage.push('TABLE_CHECKSUM');
  const layout = layoutDamage(header, footer, file.byteLength);
  if (layout !== undefined) return { header, footer, damage: [...damage, layout.code], entries };
  damage.push(...gapDamage(header, footer, file.byteLength).map(({ code }) => code));
  const indexEnd = footer.indexOffset + footer.indexBytes;
  const index = note(decodeIndex(file.subarray(footer.indexOffset, indexEnd), footer.indexOffset));
  const bloom = header.hasBloom
    ? decodeBloom(file.subarray(footer.bloomOffset, footer.bloomOffset + footer.bloomBytes))
    : undefined;
  if (bloom?.problem !== undefined) damage.push('TABLE_BLOOM');
  if (index === undefined) return { header, footer, damage, entries };
  const wrong = indexDamage(index, header.blockCount, footer.indexOffset);
  if (wrong.length > 0)
    return { header, footer, damage: [...damage, ...wrong.map(({ code }) => code)], entries };
  for (const { offset, sizeBytes } of index) {
    const block = file.subarray(offset, offset + sizeBytes);
    const broken = blockDamage(block, offset);
    if (broken !== undefined) damage.push(broken.code);
    else entries.push(...(note(decodeBlock(block, offset)) ?? []));
  }
  return { header, footer, index, filter: bloom?.filter, damage, entries };
}

const entriesArbitrary = fc
  .array(
    fc.record({
      key: fc.uint8Array({ maxLength: 12 }),
      value: fc.uint8Array({ maxLength: 700 }),
      timestamp: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      sequence: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      isDelete: fc.boolean(),
    }),
    { maxLength: 60 },
  )
  .map((rows) => {
    const entries = rows.map(
      ({ key, value, timestamp, sequence, isDelete }): TableEntry => ({
        type: isDelete ? 'delete' : 'put',
        timestamp,
        sequence,
        key: Buffer.from(key),
        value: Buffer.from(isDelete ? [] : value),
      }),
    );
    entries.sort(compareEntries);
    return entries.filter((entry, i) => i === 0 || compareEntries(entries[i - 1]!, entry) !== 0);
  });

describe('bloom filter', () => {
  it('has the sizes of the format', () => {
    const sizes = [1, 2, 10, 100, 1000, 3003].map((count) => bloomShape(count).bytes);
    expect(sizes).toEqual([2, 3, 12, 120, 1199, 3598]);
    expect(bloomShape(0)).toEqual({ hashCount: 7, bytes: 2 });
  });

  it('never denies a key that was added, and most others', () => {
    const builder = new BloomBuilder();
    for (let i = 0; i < 2000; i++) builder.add(Buffer.from(`key${i}`));
    const filter = decodeBloom(encodeBloom(builder.build(2000))).filter!;
    for (let i = 0; i < 2000; i++) expect(mayContain(filter, Buffer.from(`key${i}`))).toBe(true);
    const alarms = Array.from({ length: 2000 }, (_, i) => mayContain(filter, Buffer.from(`no${i}`)));
    expect(alarms.filter(Boolean).length).toBeLessThan(100);
  });

  it('refuses a count of hashes that would make each look-up endless', () => {
    const bytes = encodeBloom(new BloomBuilder().build(1));
    bytes.writeUInt32LE(0xffff_ffff, 0);
    expect(decodeBloom(bytes).problem).toContain('hash count');
  });
});

describeWithFixtures('lsm', 'tables of the real engine', () => {
  const vector = (name: string) => readFile(join(fixturesRoot, 'lsm/vectors', name));

  it('are built byte for byte', async () => {
    const one = [put('k', 1n, 'v')];
    expect(build(one)).toEqual(await vector('one.sst'));
    expect(build(one, false)).toEqual(await vector('one-nobloom.sst'));
    expect(build([])).toEqual(await vector('zero.sst'));
  });

  it('are rebuilt identically from their entries', async () => {
    const names = ['vectors/one.sst', 'vectors/tomb.sst', 'vectors/zero.sst', 'vectors/one-nobloom.sst'];
    for (const folder of ['small', 'wrapped']) {
      for (const name of await readdir(join(fixturesRoot, 'lsm', folder, 'sst')))
        names.push(`${folder}/sst/${name}`);
    }
    expect(names.length).toBeGreaterThanOrEqual(9);
    for (const name of names) {
      const file = await readFile(join(fixturesRoot, 'lsm', name));
      const { entries, damage, header, footer, filter, index } = dissect(file);
      expect(damage, name).toEqual([]);
      expect(build(entries, header!.hasBloom).equals(file), name).toBe(true);
      expect(encodeTableHeader(header!)).toEqual(file.subarray(0, 32));
      expect(encodeTableFooter(footer!)).toEqual(file.subarray(-48));
      for (const { key } of entries) {
        if (filter !== undefined) expect(mayContain(filter, key)).toBe(true);
        expect(findBlock(index!, key)).toBeLessThan(index!.length);
      }
    }
  });
});

describe('tables', () => {
  it('give back any entries, in any mixture of sizes', () => {
    fc.assert(
      fc.property(entriesArbitrary, fc.boolean(), (entries, bloom) => {
        const { damage, entries: read, footer } = dissect(build(entries, bloom));
        expect(damage).toEqual([]);
        expect(read).toEqual(entries);
        const stamps = entries.map(({ timestamp }) => timestamp).sort((a, b) => (a < b ? -1 : 1));
        expect([footer!.minTimestamp, footer!.maxTimestamp]).toEqual([stamps[0] ?? 0n, stamps.at(-1) ?? 0n]);
      }),
      { numRuns: 60 },
    );
  });

  it('give an entry above the block size a block of its own', () => {
    const { index } = dissect(build([put('a', 1n), put('b', 2n, 'x'.repeat(5000)), put('c', 3n)]));
    expect(index!.map(({ firstKey, lastKey }) => `${firstKey}${lastKey}`)).toEqual(['aa', 'bb', 'cc']);
  });

  it('report every changed byte, save the timestamps of the footer, which no checksum covers', () => {
    const file = build([put('a', 9n, 'one'), put('a', 4n, 'old'), put('b', 5n, 'x'.repeat(60))]);
    const uncovered = { from: file.byteLength - 24, to: file.byteLength - 8 };
    for (let at = 0; at < file.byteLength; at++) {
      const copy = Buffer.from(file);
      copy[at]! ^= 0x41;
      const isCovered = at < uncovered.from || at >= uncovered.to;
      expect(dissect(copy).damage.length > 0, `byte ${at}`).toBe(isCovered);
    }
  });

  it('survive any bytes', () => {
    const seed = build([put('a', 9n, 'one'), put('b', 5n, 'x'.repeat(5000)), put('c', 5n)]);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(seed.byteLength - 1), fc.nat(255)), { maxLength: 8 }),
        fc.nat(seed.byteLength),
        (changes, length) => {
          const copy = Buffer.from(seed);
          for (const [at, byte] of changes) copy[at] = byte;
          dissect(copy);
          const cut = copy.subarray(0, length);
          if (length < seed.byteLength) expect(dissect(cut).damage.length).toBeGreaterThan(0);
        },
      ),
      { numRuns: 500 },
    );
    expect(dissect(Buffer.alloc(MIN_TABLE_BYTES)).damage).toContain('TABLE_HEADER');
  });

  it('find hostile counts and lengths in blocks whose checksums were made to match', () => {
    const rows = [put('a', 9n, 'one'), put('b', 5n, 'two')];
    const seal = (block: Buffer) => {
      block.writeUInt32LE(crc32(block.subarray(0, -4)), block.byteLength - 4);
      return block;
    };
    const size = 8 + 2 * (25 + 1 + 3) + 4;
    for (const [at, value] of [
      [0, 0xffff_ffff],
      [0, 1],
      [4, 0xffff_ffff],
      [8 + 17, 0xffff_ffff],
      [8 + 21, 0xffff_ffff],
      [8 + 29 + 21, 4],
    ] as const) {
      const block = Buffer.from(build(rows).subarray(32, 32 + size));
      expect(blockDamage(block, 32) ?? decodeBlock(block, 32).damage).toBeUndefined();
      block.writeUInt32LE(value, at);
      seal(block);
      expect(blockDamage(block, 32) ?? decodeBlock(block, 32).damage, `at ${at}`).toMatchObject({
        code: 'TABLE_BLOCK',
      });
    }
    const tombstone = Buffer.from(build(rows).subarray(32, 32 + size));
    tombstone[8] = 1;
    expect(decodeBlock(seal(tombstone), 32).damage?.message).toContain('tombstone');
  });
});
