import { cell, isRow, items, type Json, type Row, wordsOf } from './cell-text.ts';
import { table, wrapped } from './text.ts';

/** With the indentation of lists, 100 columns. */
const WIDTH = 98;
/** What a list in the last column must at least have to be wrapped there. */
const LEAST_ROOM = 40;
/** Of keys, where whole ones make the lines too long; `--json` has them whole. */
const KEY_LENGTHS = [Number.POSITIVE_INFINITY, 36, 26, 18] as const;
const WRAPPED_KEY = 26;
const SHORTEST_KEY = 18;

/**
 * A list of a JSON document as a table, lists within it in the last columns. Where that gets too wide, long keys lose their
 * middle; then a list in the last column is wrapped; and where there is no room for that, each row becomes a paragraph.
 */
export function listLines(list: readonly Json[]): string[] {
  const rows = list.filter(isRow);
  if (rows.length < list.length) return list.map((item) => cell(item));
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const isList = (name: string) => rows.some((row) => Array.isArray(row[name]));
  const ordered = [...names.filter((name) => !isList(name)), ...names.filter(isList)];
  let lines: string[] = [];
  for (const keyLength of KEY_LENGTHS) {
    lines = tableLines(rows, ordered, keyLength);
    if (widthOf(lines) <= WIDTH) return lines;
  }
  if (!names.some(isList)) return lines;
  const room = WIDTH - widthOf(tableLines(rows, ordered.slice(0, -1))) - 2;
  if (room < LEAST_ROOM) return rows.flatMap(paragraph);
  return tableLines(rows, ordered, WRAPPED_KEY, room);
}

function tableLines(
  rows: readonly Row[],
  names: readonly string[],
  keyLength?: number,
  room?: number,
): string[] {
  const right = names.flatMap((name, i) => (rows.every((row) => isNumeric(row[name])) ? [i] : []));
  const lines = rows.flatMap((row) => {
    const cells = names.map((name) => cell(row[name], keyLength));
    const list = row[names.at(-1)!];
    if (room === undefined || !Array.isArray(list) || list.length === 0) return [cells];
    const [first = '', ...others] = wrapped(items(list, keyLength), '; ', room);
    return [[...cells.slice(0, -1), first], ...others.map((line) => [...names.slice(1).map(() => ''), line])];
  });
  return table([names.map(wordsOf), ...lines], right);
}

/** The single facts in a line of their own, then each list item by item. */
function paragraph(row: Row): string[] {
  const known = Object.entries(row).filter(([, value]) => value !== null && value !== undefined);
  const facts = known.filter(([, value]) => !Array.isArray(value));
  const lists = known.filter((entry): entry is [string, Json[]] => Array.isArray(entry[1]));
  const lines = wrapped(
    facts.map(([name, value]) => `${wordsOf(name)} ${cell(value, SHORTEST_KEY)}`),
    ', ',
    WIDTH,
  );
  for (const [name, list] of lists) {
    if (list.length === 0) continue;
    lines.push(`  ${wordsOf(name)}`);
    for (const item of items(list, SHORTEST_KEY)) {
      const [first = '', ...others] = wrapped(item.split(', '), ', ', WIDTH - 6);
      lines.push(`    ${first}`, ...others.map((line) => `      ${line}`));
    }
  }
  return lines;
}

const widthOf = (lines: readonly string[]): number =>
  lines.reduce((width, { length }) => Math.max(width, length), 0);
const isNumeric = (value: Json): boolean =>
  typeof value === 'number' || (typeof value === 'string' && /^-?\d+$/.test(value));
