import { BUFFER_BYTES, withBuffer } from '../env/buffers.ts';
import { Scanner } from '../format/scan/scanner.ts';

/** A buffer to read a table into and, where there is one, the scanner that it belongs to. */
export interface ScanBuffer {
  readonly buffer: Buffer;
  readonly scanner: Scanner | undefined;
  /** Where the scanner keeps each of the parts. */
  readonly kept: readonly number[];
}

const unused: Scanner[] = [];

/** One that grew beyond this for a large table is not kept. */
const KEEP_BYTES = 4 * 1024 * 1024;

/** Lends a scanner that keeps `parts`: each thread has few and uses them again. Without one, script does its work. */
export async function withScanner<T>(
  parts: readonly Uint8Array[],
  use: (lent: ScanBuffer) => Promise<T>,
): Promise<T> {
  const scanner = unused.pop() ?? Scanner.create(BUFFER_BYTES);
  const kept = scanner?.keep(parts);
  if (scanner === undefined || kept === undefined)
    return withBuffer((buffer) => use({ buffer, scanner: undefined, kept: [] }));
  try {
    return await use({ buffer: scanner.buffer, scanner, kept });
  } finally {
    if (scanner.keptBytes <= KEEP_BYTES) unused.push(scanner);
  }
}
