import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RunControl } from '../../src/env/worker-pool.ts';
import { combineCrc32c, crc32cOfZerosAfter } from '../../src/format/crc32.ts';
import { crc32cInScript } from '../../src/format/crc32c.ts';
import { SummedFile } from '../../src/snapshot/summed-file.ts';
import { MemoryFile } from '../support/memory-file.ts';

test('the second checksum is that of the whole file, in whatever order and however often it was read', async () => {
  const reads = fc.array(fc.tuple(fc.nat(500), fc.nat(500)), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), reads, async (bytes, places) => {
      const file = new SummedFile(new MemoryFile(Buffer.from(bytes)));
      for (const [position, length] of places) await file.read(Buffer.alloc(length), position);
      expect(await file.sum(bytes.byteLength, new RunControl())).toBe(crc32cInScript(bytes));
    }),
    { numRuns: 300 },
  );
});

test('what was read is not read again', async () => {
  const bytes = Buffer.from(Array.from({ length: 1000 }, (_, i) => i & 0xff));
  const inner = new MemoryFile(bytes);
  const file = new SummedFile(inner);
  // As an lsm log is: its headers first, then from the middle to the end, then the beginning.
  for (const [from, to] of [
    [0, 16],
    [16, 44],
    [528, 556],
    [600, 1000],
    [0, 600],
  ] as const) {
    await file.read(Buffer.alloc(to - from), from);
  }
  inner.read = () => Promise.reject(new Error('read a second time'));
  expect(await file.sum(1000, new RunControl())).toBe(crc32cInScript(bytes));
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
