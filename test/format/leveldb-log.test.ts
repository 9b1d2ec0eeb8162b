import fc from 'fast-check';
import { expect, test } from 'vitest';
import { crc32c, crc32cInScript, maskCrc } from '../../src/format/crc32c.ts';
import { BLOCK_BYTES, HEADER_BYTES, LogDecoder, type LogEnd } from '../../src/format/leveldb/log.ts';
import { encodeLog } from '../support/leveldb-encoders.ts';

interface Decoded {
  readonly payloads: string[];
  readonly damage: string[];
  readonly end: LogEnd;
}

function decode(log: Buffer, chunkBytes = log.length || 1, offset = 0): Decoded {
  const decoder = new LogDecoder(offset);
  const payloads: string[] = [];
  const damage: string[] = [];
  const take = (item: ReturnType<LogDecoder['push']> extends Generator<infer T> ? T : never): void => {
    if (item.kind === 'record') payloads.push(item.payload.toString('latin1'));
    else damage.push(`${item.kind === 'damage' ? item.reason : item.kind}@${item.offset}`);
  };
  for (let at = 0; at < log.length; at += chunkBytes) {
    for (const item of decoder.push(log.subarray(at, at + chunkBytes))) take(item);
  }
  const rest = decoder.finish();
  for (;;) {
    const { done, value } = rest.next();
    if (done) return { payloads, damage, end: value };
    take(value);
  }
}

const filled = (length: number, letter = 'x'): Buffer => Buffer.alloc(length, letter);
const text = (payloads: readonly Buffer[]): string[] => payloads.map((bytes) => bytes.toString('latin1'));

/** LevelDB's own inverse of the mask (`util/crc32c.h`). */
function unmaskCrc(masked: number): number {
  const rotated = (masked - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}

test('crc32c: known values, and native and script agree on every length and seed', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
  expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat(0xffff), (bytes, seed) => {
      expect(crc32c(bytes, seed)).toBe(crc32cInScript(bytes, seed));
      expect(unmaskCrc(maskCrc(crc32c(bytes)))).toBe(crc32c(bytes));
    }),
  );
});

test('what is written is read, in any pieces', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(BLOCK_BYTES * 2 + 100), { maxLength: 8 }),
      fc.integer({ min: 1, max: 3 * BLOCK_BYTES }),
      (lengths, chunkBytes) => {
        const payloads = lengths.map((length, index) => filled(length, String(index % 10)));
        const log = encodeLog(payloads);
        const { payloads: read, damage, end } = decode(log, chunkBytes);
        expect(read).toEqual(text(payloads));
        expect(damage).toEqual([]);
        expect(end).toEqual({ end: log.length, tornAt: undefined, zerosAt: undefined });
      },
    ),
    { numRuns: 60 },
  );
});

test('a block that has 0 to 8 bytes left over is closed as the format says', () => {
  for (let left = 0; left <= 8; left++) {
    const payloads = [filled(BLOCK_BYTES - HEADER_BYTES - left, 'a'), filled(10, 'b')];
    const log = encodeLog(payloads);
    expect(decode(log).payloads).toEqual(text(payloads));
    // Exactly a header's length: an empty FIRST stands there.
    expect(log.subarray(0, BLOCK_BYTES).some((byte, at) => at >= BLOCK_BYTES - left && byte !== 0)).toBe(
      left >= HEADER_BYTES,
    );
  }
});

test('reading a log can continue after any of its records', () => {
  const payloads = [filled(100, 'a'), filled(40_000, 'b'), filled(25_000, 'c'), filled(3, 'd')];
  let offset = 0;
  for (let skip = 0; skip <= payloads.length; skip++) {
    const log = encodeLog(payloads);
    expect(decode(log.subarray(offset), 1000, offset).payloads).toEqual(text(payloads.slice(skip)));
    offset = encodeLog(payloads.slice(0, skip + 1)).length;
  }
});

test('cut anywhere, a log is torn and not damaged, and what is whole before is read', () => {
  const payloads = [filled(10, 'a'), filled(33_000, 'b'), filled(20, 'c')];
  const log = encodeLog(payloads);
  const ends = payloads.map((_, index) => encodeLog(payloads.slice(0, index + 1)).length);
  for (let length = 0; length < log.length; length += length < 100 || length > 33_000 ? 1 : 997) {
    const { payloads: read, damage, end } = decode(log.subarray(0, length));
    const whole = ends.filter((at) => at <= length).length;
    expect(read).toEqual(text(payloads.slice(0, whole)));
    expect(damage).toEqual([]);
    const from = ends[whole - 1] ?? 0;
    expect(end.tornAt).toBe(length === from ? undefined : from);
    expect(end.end).toBe(from);
  }
});

test('one flipped bit anywhere is damage or a torn end, and never another record', () => {
  const payloads = [filled(100, 'a'), filled(33_000, 'b'), filled(100, 'c')];
  const log = encodeLog(payloads);
  for (let bit = 0; bit < log.length * 8; bit += bit < 1500 ? 1 : 641) {
    const flipped = Buffer.from(log);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    const { payloads: read, damage, end } = decode(flipped);
    expect(damage.length > 0 || end.tornAt !== undefined).toBe(true);
    for (const payload of read) expect(text(payloads)).toContain(payload);
  }
});

test('after damage, decoding goes on with the next record that begins in a block', () => {
  const payloads = [filled(100, 'a'), filled(BLOCK_BYTES * 2, 'b'), filled(100, 'c'), filled(100, 'd')];
  const log = encodeLog(payloads);
  log[20]! ^= 1; // in the first record: the rest of its block cannot be trusted
  const { payloads: read, damage } = decode(log);
  expect(read).toEqual(text(payloads.slice(2)));
  expect(damage).toEqual(['checksum@0']);
});

test('zeros are the end of a log, and damage where records follow', () => {
  const log = encodeLog([filled(10)]);
  const zeros = Buffer.alloc(2 * BLOCK_BYTES);
  log.copy(zeros);
  const quiet = decode(zeros);
  expect(quiet.damage).toEqual([]);
  expect(quiet.end).toEqual({ end: log.length, tornAt: undefined, zerosAt: log.length });

  const followed = Buffer.concat([zeros, encodeLog([filled(5)])]);
  expect(decode(followed).damage).toEqual([`zeros@${log.length}`]);
  zeros[BLOCK_BYTES - 1] = 1;
  expect(decode(zeros).damage).toEqual([`zeros@${log.length}`]);
});

test('the few bytes at the end of a block must be zero', () => {
  const log = encodeLog([filled(BLOCK_BYTES - HEADER_BYTES - 3), filled(1)]);
  log[BLOCK_BYTES - 2] = 1;
  expect(decode(log).damage).toEqual([`padding@${BLOCK_BYTES - 3}`]);
});

test('fragments that do not fit together are damage', () => {
  const long = encodeLog([filled(BLOCK_BYTES + 100)]);
  const [first, last] = [long.subarray(0, BLOCK_BYTES), long.subarray(BLOCK_BYTES)];
  expect(decode(Buffer.concat([last])).damage).toEqual(['fragment@0']);
  const other = encodeLog([filled(5)]);
  expect(decode(Buffer.concat([first, other])).damage).toEqual(['unfinished@0']);
  expect(decode(Buffer.concat([first, other])).payloads).toEqual(['xxxxx']);
});

test('decoding any bytes terminates', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 1, max: 64 }), (bytes, chunkBytes) => {
      const { end } = decode(Buffer.from(bytes), chunkBytes);
      expect(end.end).toBeLessThanOrEqual(bytes.length);
    }),
  );
});
