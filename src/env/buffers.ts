/** Files are read in pieces of this size; a thread at work holds one piece, whatever the size of its file. */
export const BUFFER_BYTES = 1024 * 1024;

const unused: Buffer[] = [];

/** Lends a buffer of `BUFFER_BYTES`, its content undefined, and takes it back: each thread has few and uses them again. */
export async function withBuffer<T>(use: (buffer: Buffer) => Promise<T>): Promise<T> {
  const buffer = unused.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
  try {
    return await use(buffer);
  } finally {
    unused.push(buffer);
  }
}
