import { visible } from './text.ts';

/** One value of a JSON document for people: a key, an operation, a table of an engine's list. */

export type Json = unknown;
export type Row = Readonly<Record<string, Json>>;

const ITEMS_SHOWN = 4;

/** @param keyLength A longer key loses its middle. */
export function cell(value: Json, keyLength = Number.POSITIVE_INFINITY): string {
  if (value === null || value === undefined) return '-';
  if (typeof value === 'string') return visible(value);
  if (Array.isArray(value)) return value.length === 0 ? '-' : items(value, keyLength).join('; ');
  if (isRow(value)) return isKey(value) ? keyText(value, keyLength) : rowText(value, keyLength);
  return String(value);
}

/** The first of a list, each as a text of its own, and how many more there are. */
export function items(list: readonly Json[], keyLength?: number): string[] {
  const shown = list.slice(0, ITEMS_SHOWN).map((item) => cell(item, keyLength));
  if (list.length > ITEMS_SHOWN) shown.push(`and ${list.length - ITEMS_SHOWN} more`);
  return shown;
}

/** An operation reads `put "k" 3 bytes`; anything else `name value, name value`. */
function rowText(row: Row, keyLength: number): string {
  const { type, value_bytes: bytes, ...rest } = row;
  const parts = Object.entries(rest).map(([name, value]) =>
    name === 'key' ? cell(value, keyLength) : `${wordsOf(name)} ${cell(value, keyLength)}`,
  );
  if (typeof type !== 'string') return parts.join(', ');
  return [
    type,
    ...parts,
    ...(bytes === undefined ? [] : [`${cell(bytes)} ${bytes === 1 ? 'byte' : 'bytes'}`]),
  ].join(' ');
}

interface Key {
  readonly bytes: number;
  readonly hex: string;
  readonly text?: string;
}

export const isKey = (row: Row): row is Row & Key =>
  typeof row.hex === 'string' && typeof row.bytes === 'number';

function keyText({ bytes, hex, text }: Key, keyLength: number): string {
  if (text !== undefined) return shortened(visible(JSON.stringify(text)), keyLength);
  const isWhole = bytes * 2 === hex.length;
  return isWhole ? shortened(`0x${hex}`, keyLength) : `${shortened(`0x${hex}`, keyLength)}… (${bytes} bytes)`;
}

/** Keys that stand together often begin alike: the end says more than the middle. */
function shortened(text: string, length: number): string {
  const characters = [...text];
  if (characters.length <= length) return text;
  const head = Math.ceil((length - 1) / 2);
  return [...characters.slice(0, head), '…', ...characters.slice(head + 1 - length)].join('');
}

export const isRow = (value: Json): value is Row =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
export const wordsOf = (name: string): string => name.replaceAll('_', ' ');
