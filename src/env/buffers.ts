import { newPageMemory } from './past-cache.ts';

/** Files are read in chunks of this size. A thread holds one or two chunks, whatever the size of its file. */
export const BUFFER_BYTES = 1024 * 1024;

/** Of whole pages where possible: what goes past the page cache is then read into it at once. */
function newBuffer(): Buffer {
  const pages = newPageMemory(BUFFER_BYTES);
  return pages === undefined ? Buffer.allocUnsafeSlow(BUFFER_BYTES) : Buffer.from(pages.buffer);
}

const unused: Buffer[] = [];

/** Runs `use` with a buffer of `BUFFER_BYTES` whose content is undefined. Each thread keeps its buffers and uses them again. */
export async function withBuffer<T>(use: (buffer: Buffer) => Promise<T>): Promise<T> {
  const buffer = unused.pop() ?? newBuffer();
  try {
    return await use(buffer);
  } finally {
    unused.push(buffer);
  }
}
