/** A key as JSON can carry it. */
export interface DescribedKey {
  readonly bytes: number;
  /** Of the first 64 bytes. */
  readonly hex: string;
  /** The whole key, where it is short and printable. */
  readonly text?: string;
}

const SHOWN_BYTES = 64;
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$/u;

export function describeKey(key: Uint8Array): DescribedKey {
  const shown = Buffer.from(key.subarray(0, SHOWN_BYTES));
  const hex = shown.toString('hex');
  const text = shown.toString('utf8');
  // Bytes that are no UTF-8 became U+FFFD, which counts as a symbol.
  const isText = key.byteLength <= SHOWN_BYTES && PRINTABLE.test(text) && Buffer.from(text).equals(shown);
  return { bytes: key.byteLength, hex, ...(isText ? { text } : {}) };
}
