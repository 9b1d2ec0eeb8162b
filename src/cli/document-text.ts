import { cell, isKey, isRow, type Json, type Row, wordsOf } from './cell-text.ts';
import { listLines } from './json-table.ts';
import type { Style } from './style.ts';
import { number, table } from './text.ts';

/** A JSON document for people: single facts first, then each list as a table, then what is wrong. */
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

/** Too much for one line. */
const isLarge = (row: Row): boolean => Object.keys(row).length > 4 || Object.values(row).some(Array.isArray);
