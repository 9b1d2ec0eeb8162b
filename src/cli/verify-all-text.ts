import { shellWord } from '../options/shell-word.ts';
import { ownerOf } from '../snapshot/store/layout.ts';
import type { SnapshotVerdict, VerifyAllResult, VerifyAllTotals } from '../snapshot/verify/verify-all.ts';
import { findingLine, verdictText } from './report-text.ts';
import type { Style } from './style.ts';
import { count, size, time, visible } from './text.ts';

/** Of one snapshot, and of what several share; `--json` has them all. */
const FINDINGS_SHOWN = 20;
const NAMES_SHOWN = 5;

/** A line for each snapshot with its findings below it, those that several share, then what was read and what was not. */
export function verifyAllText(result: VerifyAllResult, sourceDamaged: boolean, style: Style): string[] {
  const { snapshots, gone, totals, level, location, warnings } = result;
  const damaged =
    totals.damaged === 0 ? '' : style.red(`, ${count(totals.damaged, 'of them', 'of them')} damaged`);
  const owners = ownersOf(snapshots, style);
  return [
    ...snapshots.flatMap((verdict) => snapshotLines(verdict, owners, style)),
    ...gone.map((name) => `${name}: removed meanwhile`),
    ...sharedLines(owners),
    ...warnings.map((warning) => findingLine(warning, style)),
    `${visible(location)}: ${count(totals.snapshots, 'snapshot')}${damaged}  ${style.dim(`(level ${level})`)}`,
    ...totalLines(totals).map((line) => `  ${line}`),
    ...nextStep(result, sourceDamaged),
  ];
}

function nextStep({ location, totals }: VerifyAllResult, sourceDamaged: boolean): string[] {
  if (totals.damaged === 0) return [];
  const owner = ownerOf(location);
  const dir = owner === undefined ? 'DIR' : shellWord(owner);
  if (sourceDamaged)
    return [`next: the database itself is damaged too; stillpoint status ${dir} says what to do`];
  const good =
    totals.damaged === totals.snapshots
      ? 'no snapshot here is good until then'
      : 'until then latest-good names the best of the others';
  return [`next: stillpoint snapshot ${dir} --full takes one that shares no file with these; ${good}`];
}

/** The names of the snapshots that a finding stands in, by its line. */
type Owners = ReadonlyMap<string, readonly string[]>;

function ownersOf(snapshots: readonly SnapshotVerdict[], style: Style): Owners {
  const owners = new Map<string, string[]>();
  for (const { name, report } of snapshots) {
    for (const line of new Set(report.findings.map((finding) => findingLine(finding, style)))) {
      const names = owners.get(line);
      if (names === undefined) owners.set(line, [name]);
      else names.push(name);
    }
  }
  return owners;
}

function snapshotLines({ name, report, complete }: SnapshotVerdict, owners: Owners, style: Style): string[] {
  const lines = report.findings.map((finding) => findingLine(finding, style));
  const own = lines.filter((line) => owners.get(line)!.length === 1);
  const shared = own.length < lines.length ? ', shared with others' : '';
  return [
    `${name}: ${verdictText(report, style)}${shared}${complete ? '' : ', as far as it was read'}${report.medium ? ', from the disk itself' : ''}`,
    ...limited(own.map((line) => [`  ${line}`])),
  ];
}

/** What is wrong in several snapshots is wrong with a file that they share, and told once. */
function sharedLines(owners: Owners): string[] {
  const shared = [...owners].filter(([, names]) => names.length > 1);
  return limited(shared.map(([line, names]) => [line, `  in ${namesText(names)}`]));
}

function namesText(names: readonly string[]): string {
  const more = names.length - NAMES_SHOWN;
  return names.slice(0, NAMES_SHOWN).join(', ') + (more > 0 ? ` and ${count(more, 'other')}` : '');
}

function limited(findings: readonly (readonly string[])[]): string[] {
  const more = findings.length - FINDINGS_SHOWN;
  return [...findings.slice(0, FINDINGS_SHOWN).flat(), ...(more > 0 ? [`  … and ${more} more`] : [])];
}

function totalLines(totals: VerifyAllTotals): string[] {
  const shared = totals.bytes - totals.distinctBytes;
  const lines = [`${count(totals.readFiles, 'file')}, ${size(totals.readBytes)} read`];
  if (shared > 0) lines.push(`${size(shared)} more are shared, and on disk only once`);
  if (totals.skippedFiles === 0) return lines;
  const skipped = [`${count(totals.skippedFiles, 'file')}, ${size(totals.skippedBytes)} skipped`];
  if (totals.unprovenFiles > 0)
    skipped.push(`${count(totals.unprovenFiles, 'of them', 'of them')} never proven`);
  const oldest = totals.oldestProofAtMs;
  if (oldest !== null) skipped.push(`their oldest proof is of ${time(oldest)}`);
  return [...lines, skipped.join(', ')];
}
