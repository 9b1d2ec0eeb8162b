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
let made = 0;
/** Where address space is scarce each try takes long before it fails: a thread that had one tries no more. */
let isScarce = false;

/** Of one thread, which rarely reads more than one table at a time; each takes much of the address space, though little memory. */
const MOST = 4;

/** One that grew beyond this for a large table is not used again. */
const KEEP_BYTES = 4 * 1024 * 1024;

/**
 * Lends a scanner that keeps `parts`. Where there is none, because so many are lent already, no more can be made, or the parts are too
 * large, script does its work.
 */
export async function withScanner<T>(
  parts: readonly Uint8Array[],
  use: (lent: ScanBuffer) => Promise<T>,
): Promise<T> {
  const scanner = unused.pop() ?? another();
  const kept = scanner?.keep(parts);
  try {
    if (scanner === undefined || kept === undefined) return await withoutScanner(use);
    return await use({ buffer: scanner.buffer, scanner, kept });
  } finally {
    if (scanner !== undefined) giveBack(scanner);
  }
}

/** The same where no entry will be looked at. */
export const withoutScanner = <T>(use: (lent: ScanBuffer) => Promise<T>): Promise<T> =>
  withBuffer((buffer) => use({ buffer, scanner: undefined, kept: [] }));

function another(): Scanner | undefined {
  if (isScarce || made === MOST) return undefined;
  const scanner = Scanner.create(BUFFER_BYTES);
  if (scanner === undefined) isScarce = true;
  else made++;
  return scanner;
}

function giveBack(scanner: Scanner): void {
  if (scanner.keptBytes <= KEEP_BYTES) unused.push(scanner);
  else made--;
}
