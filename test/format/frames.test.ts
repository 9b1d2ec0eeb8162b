import { randomBytes } from 'node:crypto';
import { expect, test, vi } from 'vitest';
import { encodeFrame, FRAME_BYTES } from '../../src/format/frames.ts';

test('a frame takes one buffer to compress its content and one to expand it', () => {
  const content = Buffer.alloc(FRAME_BYTES, 'text');
  randomBytes(1000).copy(content);
  const allocate = vi.spyOn(Buffer, 'allocUnsafe');
  try {
    expect(encodeFrame(content).content.equals(content)).toBe(true);
    const sizes = allocate.mock.calls.map(([size]) => size);
    expect(sizes.filter((size) => size >= FRAME_BYTES)).toHaveLength(2);
  } finally {
    allocate.mockRestore();
  }
});
