import fc from 'fast-check';
import { expect, it } from 'vitest';
import { decodeLz4Block } from '../../src/format/lz4.ts';

const decode = (source: string, size: number) => {
  const target = Buffer.alloc(size);
  const problem = decodeLz4Block(Buffer.from(source.replaceAll(/\s/g, ''), 'hex'), target);
  return problem ?? target.toString('latin1');
};

it('decodes literals, matches, and matches that repeat themselves', () => {
  expect(decode('00', 0)).toBe('');
  expect(decode('30 616263', 3)).toBe('abc');
  // "abcd", then 8 bytes from 4 back (an overlap), then "xyzzy".
  expect(decode('44 61626364 0400 50 78797a7a79', 17)).toBe('abcdabcdabcdxyzzy');
  // One "a" and a run of 4 + 15 + 255 + 1 more of it.
  expect(decode('1f 61 0100 ff01 10 62', 1 + 275 + 1)).toBe(`${'a'.repeat(276)}b`);
  // 15 + 2 literals.
  expect(decode(`f0 02 ${'63'.repeat(17)}`, 17)).toBe('c'.repeat(17));
});

it('reports the damage of a block', () => {
  expect(decode('', 0)).toContain('end');
  expect(decode('f0', 20)).toContain('length');
  expect(decode('40 6162', 4)).toContain('literals');
  expect(decode('30 616263', 2)).toContain('more');
  expect(decode('30 616263', 4)).toContain('less');
  expect(decode('10 61 00', 9)).toContain('distance');
  expect(decode('10 61 0000 10 62', 9)).toContain('before');
  expect(decode('10 61 0200 10 62', 9)).toContain('before');
  expect(decode('1f 61 0100 ffff', 9)).toContain('length');
  expect(decode('10 61 0100', 5)).toContain('end');
});

it('never writes outside its target, for any input', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(100), (noise, size) => {
      const room = Buffer.alloc(size + 16, 0x5a);
      decodeLz4Block(noise, room.subarray(0, size));
      expect(room.subarray(size).every((byte) => byte === 0x5a)).toBe(true);
    }),
    { numRuns: 2000 },
  );
});
