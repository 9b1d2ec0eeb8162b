import { expect, test } from 'vitest';
import { findEntries } from '../../src/engine/lsm/tail-search.ts';
import { encodeEntry } from '../../src/format/lsm/wal-entry.ts';

const MiB = 1024 * 1024;
const ENTRY = encodeEntry(2n, [{ type: 'put', key: Buffer.from('k'), value: Buffer.from('v') }], 'single');

async function placesIn(bytes: Buffer): Promise<number[]> {
  const log = {
    end: bytes.length,
    async *read(from: number, to: number) {
      yield bytes.subarray(from, to);
    },
  };
  const places: number[] = [];
  for await (const { at } of findEntries(log, 0, { after: 1n, isAscending: false })) places.push(at);
  return places;
}

test('an entry is found behind any number of zeros, also at the edges of what is read at once', async () => {
  const numbers = [...Array(40).keys(), 4095, 4096, 4097, 8192 + 5];
  for (let by = -30; by <= 30; by++) numbers.push(MiB + by);
  for (const zeros of numbers) {
    const bytes = Buffer.concat([Buffer.alloc(zeros), ENTRY, Buffer.alloc(50)]);
    expect(await placesIn(bytes), `${zeros} zeros`).toEqual([zeros]);
  }
});

test('zeros are passed over in long steps: each byte of a window is looked at once, by a comparison', async () => {
  let looks = 0;
  const bytes = Buffer.alloc(8 * MiB);
  const log = {
    end: bytes.length,
    async *read(from: number, to: number) {
      const window = bytes.subarray(from, to);
      window.readUInt32LE = (offset = 0) => {
        looks++;
        return Buffer.prototype.readUInt32LE.call(window, offset);
      };
      yield window;
    },
  };
  for await (const found of findEntries(log, 0, { after: undefined, isAscending: false }))
    expect.fail(`${found.at}`);
  expect(looks).toBeLessThanOrEqual(16);
});
