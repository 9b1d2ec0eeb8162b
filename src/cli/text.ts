/** Numbers and names as people read them. */

import { visible } from '../options/shell-word.ts';

export { age } from '../options/age.ts';
export { size } from '../options/size.ts';
export { visible };

/** `1,234`. By hand: loading the tables for all languages takes longer than most commands. */
export const number = (value: number): string =>
  Math.round(value)
    .toString()
    .replace(/\B(?=(?:\d{3})+$)/g, ',');

/** `1 file`, `3,003 entries`. */
export const count = (value: number, one: string, many = `${one}s`): string =>
  `${number(value)} ${value === 1 ? one : many}`;

/** `0.4 ms`, `41 ms`, `1.3 s`, `2 min 5 s`. */
export function duration(ms: number): string {
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${number(Math.floor(seconds / 60))} min ${seconds % 60} s`;
}

/** The farthest moment that a calendar of JavaScript knows. */
const LAST_MS = 8.64e15;

/** `2025-11-20 10:00:00Z`; the bare number where it is no moment that a calendar knows. */
export function time(ms: number): string {
  if (!(Math.abs(ms) <= LAST_MS)) return `${ms} ms`;
  return new Date(ms).toISOString().replace('T', ' ').replace(/\.\d+/, '');
}

/** Columns as wide as their widest cell; the ones named in `right` are set to the right. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  }
  return rows.map((row) =>
    row
      .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
}

/** Parts put one behind the other, in lines as long as they fit; one that is longer stands alone. */
export function wrapped(parts: readonly string[], separator: string, width: number): string[] {
  const lines: string[] = [];
  for (const part of parts) {
    const line = lines.at(-1);
    if (line === undefined) lines.push(part);
    else if (line.length + separator.length + part.length <= width) {
      lines[lines.length - 1] = line + separator + part;
    } else {
      lines[lines.length - 1] = line + separator.trimEnd();
      lines.push(part);
    }
  }
  return lines;
}

/** Of what a restore in place takes with a folder. */
export const MOVES_ALONG = 'not of the engine, and in the undo folder with the folder that it is in';

/** What is not the engine's, in one line; nothing where there is nothing. */
export const leftLine = (what: string, names: readonly string[]): string[] =>
  names.length === 0 ? [] : [`  ${what}: ${names.map(visible).join(', ')}`];
