import type { SnapshotVerdict, VerifyAllResult, VerifyAllTotals } from '../snapshot/verify-all.ts';
import type { Style } from './output.ts';
import { findingLine, verdictText } from './report-text.ts';
import { count, size, time, visible } from './text.ts';

/** Of one snapshot; `--json` has them all. */
const FINDINGS_SHOWN = 20;

/** A line for each snapshot with its findings below it, then what was read and what was not. */
export function verifyAllText(result: VerifyAllResult, style: Style): string[] {
  const { snapshots, gone, totals, level, location, warnings } = result;
  const damaged =
    totals.damaged === 0 ? '' : style.red(`, ${count(totals.damaged, 'of them', 'of them')} damaged`);
  return [
    ...snapshots.flatMap((verdict) => snapshotLines(verdict, style)),
    ...gone.map((name) => `${name}: removed meanwhile`),
    ...warnings.map((warning) => findingLine(warning, style)),
    `${visible(location)}: ${count(totals.snapshots, 'snapshot')}${damaged}  ${style.dim(`(level ${level})`)}`,
    ...totalLines(totals).map((line) => `  ${line}`),
  ];
}

function snapshotLines({ name, report, complete }: SnapshotVerdict, style: Style): string[] {
  const { findings } = report;
  const more = findings.length - FINDINGS_SHOWN;
  return [
    `${name}: ${verdictText(report, style)}${complete ? '' : ', as far as it was read'}`,
    ...findings.slice(0, FINDINGS_SHOWN).map((finding) => `  ${findingLine(finding, style)}`),
    ...(more > 0 ? [`  … and ${more} more`] : []),
  ];
}

function totalLines(totals: VerifyAllTotals): string[] {
  const shared = totals.bytes - totals.distinct_bytes;
  const lines = [`${count(totals.read_files, 'file')}, ${size(totals.read_bytes)} read`];
  if (shared > 0) lines.push(`${size(shared)} more are shared, and on disk only once`);
  if (totals.skipped_files === 0) return lines;
  const skipped = [`${count(totals.skipped_files, 'file')}, ${size(totals.skipped_bytes)} skipped`];
  if (totals.unproven_files > 0)
    skipped.push(`${count(totals.unproven_files, 'of them', 'of them')} never proven`);
  const oldest = totals.oldest_proof_at_ms;
  if (oldest !== null) skipped.push(`their oldest proof is of ${time(oldest)}`);
  return [...lines, skipped.join(', ')];
}
