import { BUFFER_BYTES, withBuffer } from '../env/buffers.ts';
import { notePageMemory } from '../env/past-cache.ts';
import { Scanner } from '../format/scan/scanner.ts';

/** A buffer for a `SequentialReader` and, where there is one, the scanner that it belongs to. */
export interface ScanBuffer {
  readonly buffer: Buffer;
  readonly scanner: Scanner | undefined;
  /** Offsets of the kept parts in the scanner's memory, in their order. */
  readonly kept: readonly number[];
}

const unused: Scanner[] = [];
let made = 0;
/** Where address space is scarce, a failing attempt is slow. So a thread stops after the first failure. */
let isScarce = false;

/** Scanners of one thread. A thread rarely reads more than one table at a time, and each scanner takes much address space. */
const MOST = 4;

/** A scanner that keeps more than this is not used again. */
const KEEP_BYTES = 4 * 1024 * 1024;

/**
 * Runs `use` with a scanner that keeps `parts`. Without a scanner the JavaScript code does the work: when too many are in use,
 * when none can be made, or when the parts are too large.
 */
export async function withScanner<T>(
  parts: readonly Uint8Array[],
  use: (scan: ScanBuffer) => Promise<T>,
): Promise<T> {
  const scanner = unused.pop() ?? another();
  const kept = scanner?.keep(parts);
  try {
    if (scanner === undefined || kept === undefined) return await withoutScanner(use);
    notePageMemory(scanner.buffer);
    return await use({ buffer: scanner.buffer, scanner, kept });
  } finally {
    if (scanner !== undefined) giveBack(scanner);
  }
}

/** For a check that looks at no entry. */
export const withoutScanner = <T>(use: (scan: ScanBuffer) => Promise<T>): Promise<T> =>
  withBuffer((buffer) => use({ buffer, scanner: undefined, kept: [] }));

function another(): Scanner | undefined {
  if (isScarce || made === MOST) return undefined;
  const scanner = Scanner.create(2 * BUFFER_BYTES);
  if (scanner === undefined) isScarce = true;
  else made++;
  return scanner;
}

function giveBack(scanner: Scanner): void {
  if (scanner.keptBytes <= KEEP_BYTES) unused.push(scanner);
  else made--;
}
