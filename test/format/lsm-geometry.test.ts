import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  DEFAULT_GEOMETRY,
  encodeSegmentHeader,
  segmentHeaderOffset,
  type WalGeometry,
  walFileBytes,
} from '../../src/format/lsm/wal.ts';
import { inferGeometry } from '../../src/format/lsm/wal-geometry.ts';
import { describeWithFixtures, fixturesRoot } from '../support/fixtures.ts';

/** A log that exists only as its headers; everything else reads as zeros. */
class SparseLog {
  readonly headers = new Map<number, Buffer>();
  readonly sizeBytes: number;
  reads = 0;

  constructor(geometry: WalGeometry, sizeBytes = walFileBytes(geometry)) {
    this.sizeBytes = sizeBytes;
    for (let i = 0; i < geometry.segmentCount; i++)
      this.headers.set(segmentHeaderOffset(geometry, i), encodeSegmentHeader(BigInt(i + 1), BigInt(i)));
  }

  damage(geometry: WalGeometry, index: number, at: number): this {
    this.headers.get(segmentHeaderOffset(geometry, index))![at]! ^= 0xff;
    return this;
  }

  infer() {
    return inferGeometry(this.sizeBytes, (offset) => {
      this.reads++;
      return this.headers.get(offset) ?? Buffer.alloc(28);
    });
  }
}

const geometries: WalGeometry[] = [
  DEFAULT_GEOMETRY,
  { segmentBytes: 4096, segmentCount: 2 },
  { segmentBytes: 256, segmentCount: 3 },
  { segmentBytes: 1024, segmentCount: 4 },
  { segmentBytes: 262144, segmentCount: 4 },
  { segmentBytes: 100, segmentCount: 1 },
  { segmentBytes: 29, segmentCount: 60 },
  { segmentBytes: 1 << 20, segmentCount: 4096 },
];

describe('the geometry', () => {
  it.each(geometries)('is found from the headers: %o', async (geometry) => {
    expect(await new SparseLog(geometry).infer()).toEqual(geometry);
  });

  it.each(geometries.filter(({ segmentCount }) => segmentCount > 1))(
    'is found with any one header damaged: %o',
    async (geometry) => {
      for (let index = 0; index < Math.min(geometry.segmentCount, 8); index++) {
        for (const at of [0, 4, 6, 14, 22]) {
          expect(await new SparseLog(geometry).damage(geometry, index, at).infer()).toEqual(geometry);
        }
      }
    },
  );

  it('is not guessed when no header holds', async () => {
    const geometry = { segmentBytes: 4096, segmentCount: 2 };
    const log = new SparseLog(geometry).damage(geometry, 0, 22).damage(geometry, 1, 22);
    expect(await log.infer()).toBeUndefined();
    for (const size of [0, 1, 15, 16, 44, 45]) {
      expect(await inferGeometry(size, () => Buffer.alloc(0))).toBeUndefined();
    }
  });

  it('is found in a file that was cut or appended to', async () => {
    const geometry = { segmentBytes: 4096, segmentCount: 4 };
    expect(await new SparseLog(geometry, walFileBytes(geometry) + 7).infer()).toEqual(geometry);
    expect(await new SparseLog(geometry, walFileBytes(geometry) - 1).infer()).toEqual({
      segmentBytes: 4096,
      segmentCount: 3,
    });
  });

  it('is not taken from headers that a user stored as values', async () => {
    const geometry = { segmentBytes: 4096, segmentCount: 4 };
    const log = new SparseLog(geometry);
    // As if there were eight segments of half the size.
    for (const odd of [1, 3, 5, 7])
      log.headers.set(16 + odd * 2048, encodeSegmentHeader(BigInt(odd + 1), 1n));
    expect(await log.infer()).toEqual(geometry);
  });

  it('costs a bounded number of reads, whatever the size', async () => {
    await fc.assert(
      fc.asyncProperty(fc.maxSafeNat(), async (sizeBytes) => {
        let reads = 0;
        await inferGeometry(sizeBytes, () => {
          reads++;
          return Buffer.alloc(28);
        });
        expect(reads).toBeLessThan(10_000);
      }),
    );
    let reads = 0;
    const hardest = 2 ** 12 * 3 ** 4 * 5 ** 2 * 7 * 11 * 13; // many divisors below 4096
    await inferGeometry(16 + hardest, () => {
      reads++;
      return Buffer.alloc(28);
    });
    expect(reads).toBeGreaterThan(1_000);
    expect(reads).toBeLessThan(10_000);
  });
});

describeWithFixtures('lsm', 'the geometry of real logs', () => {
  it.each([
    ['small/lsm.wal', 262144, 4],
    ['wrapped/lsm.wal', 1024, 4],
    ['vectors/empty.wal', 4096, 2],
    ['vectors/put.wal', 4096, 2],
    ['vectors/wrapped.wal', 256, 3],
  ])('%s', async (name, segmentBytes, segmentCount) => {
    const file = await readFile(join(fixturesRoot, 'lsm', name));
    const read = (offset: number) => file.subarray(offset, offset + 28);
    expect(await inferGeometry(file.byteLength, read)).toEqual({ segmentBytes, segmentCount });
  });
});
