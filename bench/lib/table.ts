import type { Times } from './measure.ts';
import type { Row } from './part.ts';
import type { Spread } from './stats.ts';

/** Tables for people, in Markdown, so that they can be pasted. */
export function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows];
  const widths = head.map((_, column) => Math.max(3, ...lines.map((cells) => cells[column]!.length)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

const figure = (value: number): string =>
  value === 0 ? '0' : value.toFixed(Math.abs(value) < 0.1 ? 3 : Math.abs(value) < 100 ? 2 : 0);

export const spreadText = (spread: Spread | null): string =>
  spread === null ? '' : `${figure(spread.median)} (${figure(spread.min)}–${figure(spread.max)})`;

export function resultTable(rows: readonly Row[]): string {
  const verdict = (isMet: boolean | null) => (isMet === null ? '?' : isMet ? 'met' : 'missed');
  return markdown(
    ['#', 'what', 'measured', 'ratio (of all rounds)', 'target', '', 'the machine itself'],
    rows.map(({ measure, what, measured, ratio, target, isMet, limit }) => [
      String(measure),
      what,
      measured,
      spreadText(ratio),
      target,
      verdict(isMet),
      limit,
    ]),
  );
}

export function timesTable(parts: readonly { name: string; times: Times }[]): string {
  const rows = parts.flatMap(({ name, times }) =>
    Object.entries(times.toJSON()).map(([way, { bytes }]) => {
      const { median, min, max } = times.ms(way);
      const perSecond = (bytes / 1e3 / median).toFixed(0);
      return [
        name,
        way,
        (bytes / 1e6).toFixed(0),
        ...[median, min, max].map((ms) => ms.toFixed(1)),
        perSecond,
      ];
    }),
  );
  return markdown(['part', 'way', 'MB', 'median ms', 'min', 'max', 'MB/s'], rows);
}
