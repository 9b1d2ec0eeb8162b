import type { Finding, Report } from '../engine/report.ts';
import type { Style } from './style.ts';
import { count, number, visible } from './text.ts';

/** `sst/1.sst @4711 LSM_TABLE_BLOCK_CRC the block …`, the code in red for an error and yellow for a warning. */
export function findingLine({ path, offset, code, severity, message }: Finding, style: Style): string {
  const place = [path === '' ? undefined : path, offset === null ? undefined : `@${offset}`];
  const colour = severity === 'error' ? style.red : style.yellow;
  const parts = [...place.map((part) => part && visible(part)), colour(visible(code)), visible(message)];
  return parts.filter((part) => part !== undefined).join(' ');
}

/** A line for each error, and one for each kind of warning, with the first of them; `--json` has them all. */
export function findingLines(findings: readonly Finding[], style: Style): string[] {
  const counts = new Map<string, number>();
  for (const { severity, code } of findings)
    if (severity === 'warning') counts.set(code, (counts.get(code) ?? 0) + 1);
  return findings.flatMap((finding) => {
    const { severity, code } = finding;
    if (severity === 'error') return [findingLine(finding, style)];
    const times = counts.get(code);
    if (times === undefined) return []; // one of its kind has been told
    counts.delete(code);
    const more = times === 1 ? '' : style.dim(`  (the first of ${number(times)})`);
    return [`${findingLine(finding, style)}${more}`];
  });
}

/** What a proof that passed has found nevertheless, such as what could not be read. */
export const warningLines = (report: Report | null, style: Style): string[] =>
  findingLines(report?.findings ?? [], style).map((line) => `  ${line}`);

/** What was shown: `3 tables, 61 blocks, 3,003 entries; log replayed to lsn 3042`. */
export function proofText({ level, engine, counts, medium }: Report): string {
  const where = medium ? ', read from the disk itself' : '';
  const files = `checksums of ${count(counts.files, 'file')}${where}`;
  if (level === 'files' || engine === 'files') return files;
  const tables = [count(counts.tables, 'table')];
  // Only the full level reads what is in the tables.
  if (level === 'full') tables.push(count(counts.blocks, 'block'), count(counts.entries, 'entry', 'entries'));
  const unit = engine === 'lsm' ? 'lsn' : 'sequence';
  // The logs of several databases have no last number in common.
  const unnumbered =
    counts.walEntries === 0
      ? 'log empty'
      : `${count(counts.walEntries, 'log entry', 'log entries')} replayed`;
  const log = counts.walLastLsn === null ? unnumbered : `log replayed to ${unit} ${counts.walLastLsn}`;
  return `${tables.join(', ')}; ${log}${where}`;
}

/** The verdict in one word, coloured, with the numbers of findings. */
export function verdictText({ verdict, findings }: Report, style: Style): string {
  const errors = findings.filter(({ severity }) => severity === 'error').length;
  const counted = [
    ...(errors > 0 ? [count(errors, 'error')] : []),
    ...(findings.length > errors ? [count(findings.length - errors, 'warning')] : []),
  ];
  const bold = style.bold(verdict);
  const word =
    verdict === 'faithful' ? style.green(bold) : verdict === 'unread' ? style.yellow(bold) : style.red(bold);
  return counted.length === 0 ? word : `${word}: ${counted.join(', ')}`;
}
