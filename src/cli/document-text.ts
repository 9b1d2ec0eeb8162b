import type { Style } from './output.ts';
import { number, table, visible } from './text.ts';

/** A JSON document for people: single facts first, then each list as a table, then what is wrong. */

type Json = unknown;
type Row = Readonly<Record<string, Json>>;

export function documentLines(document: object, style: Style): string[] {
  const facts: string[][] = [];
  const lists: [string, readonly Json[]][] = [];
  const collect = (owner: object, prefix: string) => {
    for (const [name, value] of Object.entries(owner)) {
      const label = prefix === '' ? wordsOf(name) : `${prefix} ${wordsOf(name)}`;
      if (Array.isArray(value)) lists.push([label, value]);
      else if (isRow(value) && !isKey(value) && isLarge(value)) collect(value, label);
      else facts.push([label, cell(value)]);
    }
  };
  collect(document, '');
  const lines = table(facts);
  for (const [label, list] of lists) {
    if (list.length === 0) continue;
    const isProblems = label === 'problems';
    lines.push('', isProblems ? style.red(label) : style.bold(`${label} (${number(list.length)})`));
    lines.push(...listLines(list).map((line) => `  ${line}`));
  }
  return lines;
}

function listLines(list: readonly Json[]): string[] {
  const rows = list.filter(isRow);
  if (rows.length < list.length) return list.map(cell);
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const right = names.flatMap((name, i) => (rows.every((row) => isNumeric(row[name])) ? [i] : []));
  return table([names.map(wordsOf), ...rows.map((row) => names.map((name) => cell(row[name])))], right);
}

const ITEMS_SHOWN = 4;

function cell(value: Json): string {
  if (value === null || value === undefined) return '-';
  if (typeof value === 'string') return visible(value);
  if (Array.isArray(value)) {
    const shown = value.slice(0, ITEMS_SHOWN).map(cell);
    if (value.length > ITEMS_SHOWN) shown.push(`and ${value.length - ITEMS_SHOWN} more`);
    return shown.length === 0 ? '-' : shown.join('; ');
  }
  if (isRow(value)) return isKey(value) ? keyText(value) : rowText(value);
  return String(value);
}

/** An operation reads `put "k" 3 bytes`; anything else `name value, name value`. */
function rowText(row: Row): string {
  const { type, value_bytes: bytes, ...rest } = row;
  const parts = Object.entries(rest).map(([name, value]) =>
    name === 'key' ? cell(value) : `${wordsOf(name)} ${cell(value)}`,
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

const isKey = (row: Row): row is Row & Key => typeof row.hex === 'string' && typeof row.bytes === 'number';

function keyText({ bytes, hex, text }: Key): string {
  if (text !== undefined) return visible(JSON.stringify(text));
  return bytes * 2 === hex.length ? `0x${hex}` : `0x${hex}… (${bytes} bytes)`;
}

/** Too much for one line. */
const isLarge = (row: Row): boolean => Object.keys(row).length > 4 || Object.values(row).some(Array.isArray);

const isRow = (value: Json): value is Row =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isNumeric = (value: Json): boolean =>
  typeof value === 'number' || (typeof value === 'string' && /^-?\d+$/.test(value));
const wordsOf = (name: string): string => name.replaceAll('_', ' ');
