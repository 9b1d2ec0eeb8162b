import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeSectionHeader,
  decodeSegmentHeader,
  encodeSectionHeader,
  encodeSegmentHeader,
  liveBytes,
  physicalOffset,
  ringBytes,
  ringExtents,
  sectionProblem,
  segmentProblem,
  type WalGeometry,
  walFileBytes,
} from '../../src/format/lsm/wal.ts';
import { encodeEntry, entryBytes, type WalOp } from '../../src/format/lsm/wal-entry.ts';
import { type ReplayRange, WalReplay } from '../../src/format/lsm/wal-replay.ts';
import { describeWithFixtures, fixturesRoot } from '../support/fixtures.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const unhex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const bytes = (text: string) => Buffer.from(text);

/** An entry with its operations copied out, since they are views that the next push ends. */
function replayAll(range: ReplayRange, chunks: Uint8Array[]) {
  const replay = new WalReplay(range);
  const entries = chunks.flatMap((chunk) =>
    replay.push(chunk).map((entry) => ({
      lsn: entry.lsn,
      offset: entry.offset,
      length: entry.length,
      ops: structuredClone(entry.ops()).map((op) => ({
        type: op.type,
        key: hex(op.key),
        value: op.type === 'put' ? hex(op.value) : '',
      })),
    })),
  );
  return { entries, result: replay.finish() };
}

function readLog(file: Buffer, geometry: WalGeometry) {
  const header = decodeSectionHeader(file);
  const range = {
    start: header.start,
    liveBytes: liveBytes(geometry, header),
    ringBytes: ringBytes(geometry),
  };
  const chunks = ringExtents(geometry, range.start, range.liveBytes).map(({ offset, length }) =>
    file.subarray(offset, offset + length),
  );
  return { header, range, ...replayAll(range, chunks) };
}

describe('entries', () => {
  it('are written as the engine writes them', () => {
    const put: WalOp = { type: 'put', key: bytes('k'), value: bytes('v') };
    expect(hex(encodeEntry(1n, [put], 'single'))).toBe(
      hex(unhex('0100000000000000 09000000 00 01 6b 01 76 492aa9be')),
    );
    expect(hex(encodeEntry(1n, [put], 'batch'))).toBe(
      hex(unhex('0100000000000000 0b000000 02 01 00 01 6b 01 76 13aa4b2e')),
    );
    expect(hex(encodeEntry(2n, [{ type: 'delete', key: bytes('k') }], 'single'))).toBe(
      hex(unhex('0200000000000000 08000000 01 01 6b 00 bdca8987')),
    );
  });

  it('refuse more than one operation outside a batch', () => {
    expect(() => encodeEntry(1n, [], 'single')).toThrow(TypeError);
  });
});

describe('segment headers', () => {
  it('are written as the engine writes them', () => {
    expect(hex(encodeSegmentHeader(1n, 1n))).toBe(
      hex(unhex('4157414c 0200 0100000000000000 0100000000000000 31b2e539 0000')),
    );
    expect(hex(encodeSegmentHeader(2n, 0n))).toBe(
      hex(unhex('4157414c 0200 0200000000000000 0000000000000000 5d0687dc 0000')),
    );
  });

  it('lose their validity with any flipped bit save those of the reserved field', () => {
    const good = encodeSegmentHeader(3n, 77n);
    expect(segmentProblem(good, 2)).toBeUndefined();
    expect(segmentProblem(good, 1)).toContain('id');
    expect(segmentProblem(good.subarray(0, 27), 2)).toBeDefined();
    for (let bit = 0; bit < 28 * 8; bit++) {
      const bad = Buffer.from(good);
      bad[bit >> 3]! ^= 1 << (bit & 7);
      expect(segmentProblem(bad, 2) === undefined, `bit ${bit}`).toBe(bit >= 26 * 8);
    }
    expect(decodeSegmentHeader(good)).toEqual({ version: 2, id: 3n, firstLsn: 77n, reserved: 0 });
  });
});

describe('the ring', () => {
  const geometry = { segmentBytes: 100, segmentCount: 3 };

  it('splits a range at each segment header and at its end', () => {
    expect(walFileBytes(geometry)).toBe(316);
    expect(ringBytes(geometry)).toBe(216);
    expect(physicalOffset(geometry, 0)).toBe(44);
    expect(physicalOffset(geometry, 72)).toBe(144);
    expect(ringExtents(geometry, 60, 100)).toEqual([
      { offset: 104, length: 12 },
      { offset: 144, length: 72 },
      { offset: 244, length: 16 },
    ]);
    expect(ringExtents(geometry, 200, 30)).toEqual([
      { offset: 300, length: 16 },
      { offset: 44, length: 14 },
    ]);
    expect(ringExtents(geometry, 5, 0)).toEqual([]);
    expect(ringExtents(geometry, 5, 216).reduce((sum, e) => sum + e.length, 0)).toBe(216);
  });

  it('tells empty from full by the bit', () => {
    const full = { start: 8, end: 8, full: true };
    expect(hex(encodeSectionHeader(full))).toBe('08000000000000000800000000000080');
    expect(decodeSectionHeader(encodeSectionHeader(full))).toEqual(full);
    expect(liveBytes(geometry, full)).toBe(216);
    expect(liveBytes(geometry, { start: 8, end: 8, full: false })).toBe(0);
    expect(liveBytes(geometry, { start: 200, end: 14, full: false })).toBe(30);
    expect(sectionProblem(geometry, full)).toBeUndefined();
    expect(sectionProblem(geometry, { start: 216, end: 0, full: false })).toContain('start');
    expect(sectionProblem(geometry, { start: 0, end: 216, full: false })).toContain('end');
    expect(sectionProblem(geometry, { start: 0, end: 1, full: true })).toContain('full');
  });
});

describe('replay', () => {
  const op = fc.oneof(
    fc.record({
      type: fc.constant('put' as const),
      key: fc.uint8Array({ maxLength: 200 }),
      value: fc.uint8Array({ maxLength: 300 }),
    }),
    fc.record({ type: fc.constant('delete' as const), key: fc.uint8Array({ maxLength: 40 }) }),
  );
  const log = fc.array(fc.array(op, { maxLength: 6 }), { maxLength: 8 });

  it('gives back what was written, however it is cut into chunks', () => {
    fc.assert(
      fc.property(log, fc.array(fc.nat(60)), fc.nat(5000), (batches, cuts, start) => {
        const written = batches.map((ops, i) => encodeEntry(BigInt(3 * i + 2), ops, 'batch'));
        written.forEach((entry, i) => {
          expect(entry.byteLength).toBe(entryBytes(batches[i]!, 'batch'));
        });
        const all = Buffer.concat(written);
        const chunks: Uint8Array[] = [];
        let at = 0;
        for (const cut of cuts) {
          chunks.push(Uint8Array.from(all.subarray(at, at + cut)));
          at += cut;
        }
        chunks.push(all.subarray(at));
        const range = { start, liveBytes: all.byteLength, ringBytes: 50_000 };
        const { entries, result } = replayAll(range, chunks);
        expect(result.stop).toBeUndefined();
        expect(entries.map(({ lsn }) => lsn)).toEqual(batches.map((_, i) => BigInt(3 * i + 2)));
        expect(entries.map(({ ops }) => ops)).toEqual(
          batches.map((ops) =>
            ops.map((o) => ({
              type: o.type,
              key: hex(o.key),
              value: o.type === 'put' ? hex(o.value) : '',
            })),
          ),
        );
      }),
    );
  });

  it('survives any bytes, and says the same about them in one chunk and in many', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (noise, headed) => {
        // With a good entry in front, and with plausible headers, deeper code is reached.
        const all = headed
          ? Buffer.concat([encodeEntry(1n, [{ type: 'delete', key: noise }], 'batch'), noise])
          : Buffer.from(noise);
        const range = { start: 0, liveBytes: all.byteLength, ringBytes: 1000 };
        const whole = replayAll(range, [all]);
        const single = replayAll(
          range,
          [...all].map((byte) => Uint8Array.of(byte)),
        );
        expect(single).toEqual(whole);
        const dropped = whole.result.stop?.droppedBytes ?? 0;
        const good = whole.entries.reduce((sum, entry) => sum + entry.length, 0);
        expect(good + dropped).toBe(all.byteLength);
      }),
    );
  });

  const first = encodeEntry(5n, [{ type: 'put', key: bytes('a'), value: bytes('1') }], 'batch');
  const second = encodeEntry(6n, [{ type: 'delete', key: bytes('b') }], 'single');
  const stopOf = (tail: Uint8Array, ringSize = 1000, liveSize = first.byteLength + tail.byteLength) =>
    replayAll({ start: 990, liveBytes: liveSize, ringBytes: ringSize }, [first, tail]).result;
  const at = (990 + first.byteLength) % 1000;

  it('stops where the engine does', () => {
    expect(stopOf(second)).toEqual({ entries: 2, firstLsn: 5n, lastLsn: 6n });
    expect(stopOf(Buffer.alloc(11)).stop).toMatchObject({ reason: 'short', offset: at, droppedBytes: 11 });
    expect(stopOf(Buffer.alloc(12)).stop).toMatchObject({ reason: 'length', offset: at });
    const long = Buffer.from(second);
    long.writeUInt32LE(second.byteLength, 8);
    expect(stopOf(long).stop).toMatchObject({ reason: 'length', droppedBytes: second.byteLength });
    long.writeUInt32LE(0xffffffff, 8);
    expect(stopOf(long).stop?.message).toContain('ring');
    const flipped = Buffer.from(second);
    flipped[13]! ^= 1;
    expect(stopOf(flipped).stop).toMatchObject({ reason: 'crc', offset: at });
    expect(stopOf(first).stop).toMatchObject({ reason: 'order', offset: at });
    expect(stopOf(second, 1000, 100).stop).toMatchObject({
      reason: 'missing',
      droppedBytes: 100 - first.byteLength - second.byteLength,
    });
  });

  it('looks into bodies whose checksum is right', async () => {
    const { crc32 } = await import('../../src/format/crc32.ts');
    const seal = (body: string) => {
      const inner = unhex(body);
      const entry = Buffer.alloc(16 + inner.byteLength);
      entry.writeBigUInt64LE(9n, 0);
      entry.writeUInt32LE(inner.byteLength + 4, 8);
      inner.copy(entry, 12);
      entry.writeUInt32LE(crc32(entry.subarray(0, -4)), entry.byteLength - 4);
      return entry;
    };
    expect(stopOf(seal('02 00')).stop).toBeUndefined();
    for (const body of [
      '03 01 6b 01 76', // type
      '00 01 6b 01 76 00', // a byte too many
      '00 01 6b 02 76', // a value too long
      '00 80', // a varint that ends nowhere
      '00 80808080808080808080 00', // a varint of eleven bytes
      '02 02 01 01 6b 00', // one operation of two
      '02 ffffffffffffffffff01', // a count of 2^64 - 1
      '02 01 02 01 6b 00', // a batch in a batch
    ]) {
      expect(stopOf(seal(body)).stop, body).toMatchObject({ reason: 'body', offset: at });
    }
  });

  it('returns operations that stay good until the next push', () => {
    const replay = new WalReplay({ start: 0, liveBytes: 1000, ringBytes: 1000 });
    replay.push(first.subarray(0, 3));
    // The rest of the first entry, and the beginning of the second, which must not overwrite it.
    const [entry] = replay.push(Buffer.concat([first.subarray(3), second.subarray(0, 20)]));
    expect(entry?.ops()).toEqual([{ type: 'put', key: bytes('a'), value: bytes('1') }]);
  });
});

describeWithFixtures('lsm', 'real logs', () => {
  const read = (name: string) => readFile(join(fixturesRoot, 'lsm', name));

  it.each([
    ['vectors/empty.wal', { segmentBytes: 4096, segmentCount: 2 }, []],
    ['vectors/put.wal', { segmentBytes: 4096, segmentCount: 2 }, [1n]],
    ['vectors/batch.wal', { segmentBytes: 4096, segmentCount: 2 }, [1n]],
    ['vectors/wrapped.wal', { segmentBytes: 256, segmentCount: 3 }, [5n, 6n, 7n, 8n, 9n]],
  ])('%s', async (name, geometry, lsns) => {
    const { entries, result } = readLog(await read(name), geometry);
    expect(result.stop).toBeUndefined();
    expect(entries.map(({ lsn }) => lsn)).toEqual(lsns);
  });

  it('are written again byte for byte from what was read', async () => {
    const file = await read('wrapped/lsm.wal');
    const geometry = { segmentBytes: 1024, segmentCount: 4 };
    const header = decodeSectionHeader(file);
    const live = ringExtents(geometry, header.start, liveBytes(geometry, header));
    const logical = Buffer.concat(live.map((e) => file.subarray(e.offset, e.offset + e.length)));
    const range = { start: header.start, liveBytes: logical.byteLength, ringBytes: ringBytes(geometry) };
    const again = new WalReplay(range)
      .push(logical)
      .map((entry) => encodeEntry(entry.lsn, entry.ops(), 'batch'));
    expect(again.length).toBeGreaterThan(1);
    expect(hex(Buffer.concat(again))).toBe(hex(logical));
    expect(hex(encodeSectionHeader(header))).toBe(hex(file.subarray(0, 16)));
  });
});
