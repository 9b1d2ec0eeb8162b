import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  decodeBigVarint,
  decodeVarint,
  encodeVarint,
  varintLength,
  writeVarint,
} from '../../src/format/varint.ts';

const MAX_U64 = 2n ** 64n - 1n;

it('writes LEB128', () => {
  const hex = (value: number | bigint) => encodeVarint(value).toString('hex');
  expect([0, 127, 128, 300, 2 ** 32 - 1, 2 ** 32].map(hex)).toEqual([
    '00',
    '7f',
    '8001',
    'ac02',
    'ffffffff0f',
    '8080808010',
  ]);
  expect(hex(MAX_U64)).toBe('ffffffffffffffffff01');
});

it('reads back what it wrote, wherever it stands', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: MAX_U64 }), fc.nat(5), fc.nat(3), (value, before, after) => {
      const encoded = encodeVarint(value);
      expect(encoded.byteLength).toBe(varintLength(value));
      if (value <= BigInt(Number.MAX_SAFE_INTEGER))
        expect(varintLength(Number(value))).toBe(varintLength(value));
      const bytes = Buffer.concat([Buffer.alloc(before, 0x80), encoded, Buffer.alloc(after, 0x7f)]);
      const next = before + encoded.byteLength;
      expect(decodeBigVarint(bytes, before)).toEqual({ value, next });
      const isSafe = value <= BigInt(Number.MAX_SAFE_INTEGER);
      expect(decodeVarint(bytes, before)).toEqual(isSafe ? { value: Number(value), next } : undefined);
      if (isSafe) expect(encodeVarint(Number(value))).toEqual(encoded);
      expect(decodeBigVarint(bytes, before, next - 1)).toBeUndefined();
      expect(decodeVarint(bytes, before, next - 1)).toBeUndefined();
    }),
  );
});

it('takes ten bytes at most, superfluous zeros included', () => {
  const ten = Buffer.from(`${'80'.repeat(9)}00`, 'hex');
  expect(decodeVarint(ten, 0)).toEqual({ value: 0, next: 10 });
  expect(decodeVarint(Buffer.from(`${'80'.repeat(10)}00`, 'hex'), 0)).toBeUndefined();
  expect(decodeBigVarint(Buffer.from(`${'ff'.repeat(9)}7f`, 'hex'), 0)?.value).toBe(MAX_U64);
});

it('returns the offset behind what it wrote', () => {
  const target = Buffer.alloc(4);
  expect(writeVarint(target, 1, 300)).toBe(3);
  expect(target.toString('hex')).toBe('00ac0200');
});
