import * as zlib from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  combineCrc32c,
  crc32,
  crc32AndByte,
  crc32cOfZerosAfter,
  crc32InScript,
  crc32OfPart,
} from '../../src/format/crc32.ts';
import { crc32cInScript } from '../../src/format/crc32c.ts';
import { isZeros, Sums } from '../../src/format/sums.ts';

const MB = 1024 * 1024;

/** Pieces as they come out of a file: bytes, zeros, and zeros that nobody read. */
const pieces = fc.array(
  fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.nat(3000).map((length) => new Uint8Array(length)),
    fc.nat(100_000),
  ),
  { maxLength: 8 },
);

const bytesOf = (list: readonly (Uint8Array | number)[]): Buffer =>
  Buffer.concat(list.map((piece) => (typeof piece === 'number' ? Buffer.alloc(piece) : piece)));

function sumsOf(list: readonly (Uint8Array | number)[]): Sums {
  const sums = new Sums();
  for (const piece of list) {
    if (typeof piece === 'number') sums.addZeros(piece);
    else sums.add(piece);
  }
  return sums;
}

test('both checksums equal those of the whole, for pieces of any size and holes', () => {
  fc.assert(
    fc.property(pieces, pieces, (first, second) => {
      const whole = bytesOf([...first, ...second]);
      const expected = {
        sizeBytes: whole.length,
        crc32: crc32InScript(whole),
        crc32c: crc32cInScript(whole),
      };
      expect(sumsOf([...first, ...second]).result()).toEqual(expected);
      const sums = sumsOf(first);
      sums.append(sumsOf(second).result());
      expect(sums.result()).toEqual(expected);
    }),
  );
});

test.each([-1, 0, 1, MB])('nothing behind a megabyte of zeros is taken for zeros: %i bytes more', (more) => {
  const bytes = Buffer.alloc(MB + more);
  const sums = new Sums();
  sums.add(bytes);
  expect(sums.crc32).toBe(crc32InScript(bytes));
  bytes[bytes.length - 1] = 7;
  sums.add(bytes);
  const whole = Buffer.concat([Buffer.alloc(bytes.length), bytes]);
  expect(sums.result()).toEqual({
    sizeBytes: whole.length,
    crc32: crc32InScript(whole),
    crc32c: crc32cInScript(whole),
  });
});

test('reading the checksum in between does not change the result', () => {
  const sums = new Sums();
  sums.add(Buffer.from('abc'));
  sums.addZeros(70_000);
  expect(sums.crc32).toBe(crc32InScript(Buffer.concat([Buffer.from('abc'), Buffer.alloc(70_000)])));
  sums.add(Buffer.from('def'));
  const whole = Buffer.concat([Buffer.from('abc'), Buffer.alloc(70_000), Buffer.from('def')]);
  expect(sums.crc32c).toBe(crc32cInScript(whole));
});

test('CRC-32C is absent unless it was asked for', () => {
  const sums = new Sums(false);
  sums.add(Buffer.from('abc'));
  sums.append(sumsOf([Buffer.from('def')]).result());
  expect(sums.result()).toEqual({
    sizeBytes: 6,
    crc32: crc32InScript(Buffer.from('abcdef')),
    crc32c: undefined,
  });
});

test('crc32: known value, and the native module, the script and Node agree on every length and seed', () => {
  expect(crc32(Buffer.from('123456789'))).toBe(0xcbf43926);
  const bytes = Buffer.from(Array.from({ length: 3000 }, (_, i) => (i * 7 + (i >> 5)) & 0xff));
  for (let length = 0; length <= bytes.length; length += length < 300 ? 1 : 97) {
    for (const seed of [0, 1, 0xffffffff, 0x12345678]) {
      const piece = bytes.subarray(length % 5, length);
      expect(crc32(piece, seed)).toBe(crc32InScript(piece, seed));
      expect(crc32(piece, seed)).toBe(zlib.crc32(piece, seed));
    }
    const part = bytes.subarray(length % 5, length);
    expect(crc32OfPart(bytes, length % 5, length)).toBe(crc32InScript(part));
    const more = Buffer.concat([part, Buffer.of(length & 0xff)]);
    expect(crc32AndByte(crc32InScript(part), length & 0xff)).toBe(crc32InScript(more));
  }
});

test('checksums of parts, and of zeros, add up', () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.uint8Array(), fc.nat(300), (a, b, zeros) => {
      expect(combineCrc32c(crc32cInScript(a), crc32cInScript(b), b.length)).toBe(
        crc32cInScript(Buffer.concat([a, b])),
      );
      expect(crc32cOfZerosAfter(crc32cInScript(a), zeros)).toBe(
        crc32cInScript(Buffer.concat([a, Buffer.alloc(zeros)])),
      );
    }),
  );
});

test('only zeros are zeros, in buffers of every size up to some megabytes, wherever the other byte stands', () => {
  expect(isZeros(Buffer.alloc(0))).toBe(true);
  for (const size of [1, MB - 1, MB, MB + 1, 2 * MB + 1]) {
    const bytes = Buffer.alloc(size);
    expect(isZeros(bytes), `${size}`).toBe(true);
    for (const at of [0, 1, MB - 1, MB, 2 * MB, size - 1].filter((at) => at < size)) {
      bytes[at] = 1;
      expect(isZeros(bytes), `${size}, byte ${at}`).toBe(false);
      bytes[at] = 0;
    }
  }
});
