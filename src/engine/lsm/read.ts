import type { OpenFile } from '../../env/file-system.ts';
import { readFully } from '../../env/io.ts';

/** The bytes at `offset`, fewer than `length` where the file ends. The caller has bounded the length. */
export async function readUpTo(file: OpenFile, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, await readFully(file, bytes, offset));
}
