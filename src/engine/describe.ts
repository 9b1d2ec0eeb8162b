import type { Finding } from './report.ts';

/** What `inspect` says of a file, as plain JSON. The names of the fields are those of the output. */

export interface InspectOptions {
  /** At most this many records, entries, blocks and operations of one record are listed. Default: 1000. */
  readonly limit?: number;
  /** List the entries of a table, and not only its blocks. Default: false. */
  readonly entries?: boolean;
}

export const DEFAULT_LIMIT = 1000;

/** All of a file's content that is worth showing; what is wrong with it stands under `problems`. */
export interface FileDescription {
  readonly kind: string;
  readonly problems: readonly string[];
  readonly [field: string]: unknown;
}

/** The first items of a list, and how many there are. */
export class First<T> {
  readonly list: T[] = [];
  readonly #limit: number;
  total = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get isFull(): boolean {
    return this.list.length >= this.#limit;
  }

  /** `make` is called only for what is listed. */
  add(make: () => T | undefined): void {
    this.total++;
    const item = this.isFull ? undefined : make();
    if (item !== undefined) this.list.push(item);
  }
}

const SHOWN_BYTES = 64;
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$/u;

/** A key: its length, the first 64 bytes in hex, and all of it as text where it is short and printable. */
export function describeKey(key: Uint8Array) {
  const shown = Buffer.from(key.subarray(0, SHOWN_BYTES));
  const text = shown.toString('utf8');
  // Bytes that are no UTF-8 became U+FFFD, which counts as a symbol.
  const isText = key.byteLength <= SHOWN_BYTES && PRINTABLE.test(text) && Buffer.from(text).equals(shown);
  return { bytes: key.byteLength, hex: shown.toString('hex'), ...(isText ? { text } : {}) };
}

/** An operation of a log; values are shown by their length. */
export const describeOp = (op: {
  readonly type: 'put' | 'delete';
  readonly key: Uint8Array;
  readonly value?: Uint8Array;
}) => ({
  type: op.type,
  key: describeKey(op.key),
  ...(op.type === 'put' && { value_bytes: op.value!.byteLength }),
});

export const problemsOf = (findings: readonly Finding[]): string[] =>
  findings.map(({ offset, message }) => (offset === null ? message : `at byte ${offset}: ${message}`));

/** A u64, which JSON has no number for. */
export const decimal = (value: bigint | undefined): string | null =>
  value === undefined ? null : String(value);
