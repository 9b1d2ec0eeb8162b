import { expect, it } from 'vitest';
import { decodeCheckpoint, encodeCheckpoint } from '../../src/format/lsm/checkpoint.ts';

const good = encodeCheckpoint({ lsn: 42n, createdAtMs: 123n });

it('is written as the engine writes it', () => {
  expect(good.toString('hex')).toBe('010000002a000000000000007b000000000000005cec0478');
  expect(decodeCheckpoint(good)).toEqual({ checkpoint: { lsn: 42n, createdAtMs: 123n } });
  const longer = Buffer.concat([good, Buffer.from('more')]);
  expect(decodeCheckpoint(longer).checkpoint?.lsn).toBe(42n);
  const largest = { lsn: 2n ** 64n - 1n, createdAtMs: 2n ** 64n - 1n };
  expect(decodeCheckpoint(encodeCheckpoint(largest)).checkpoint).toEqual(largest);
});

it('is unusable with any flipped bit, or when it is short', () => {
  for (let bit = 0; bit < 24 * 8; bit++) {
    const bad = Buffer.from(good);
    bad[bit >> 3]! ^= 1 << (bit & 7);
    expect(decodeCheckpoint(bad).problem, `bit ${bit}`).toBeDefined();
  }
  for (let length = 0; length < 24; length++) {
    expect(decodeCheckpoint(good.subarray(0, length)).problem).toContain(`${length} bytes`);
  }
});
