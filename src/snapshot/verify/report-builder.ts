import type { FileCheck } from '../../engine/engine.ts';
import {
  type Counts,
  type Finding,
  noCounts,
  type Report,
  type Step,
  type Verdict,
} from '../../engine/report.ts';
import type { Clock } from '../../env/clock.ts';
import type { Level } from '../../options/choices.ts';
import { comparePaths } from '../store/manifest.ts';

/** Findings that one report lists; the rest is only counted. */
const FINDINGS_LIMIT = 10_000;

const WORST_FIRST: readonly Verdict[] = ['copy-damaged', 'source-damaged', 'unread'];

/** Collects the steps and findings of one proof. */
export class ReportBuilder {
  readonly #clock: Clock;
  readonly #steps: Step[] = [];
  readonly #findings: Finding[] = [];
  readonly #verdicts = new Set<Verdict>();
  #dropped = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async step<T>(name: string, work: () => Promise<T>): Promise<T> {
    const begin = this.#clock.monotonicMs();
    const result = await work();
    this.#steps.push({ name, durationMs: round(this.#clock.monotonicMs() - begin) });
    return result;
  }

  add(finding: Finding): void {
    if (finding.verdict !== undefined) this.#verdicts.add(finding.verdict); // also of what is not listed
    if (this.#findings.length < FINDINGS_LIMIT) this.#findings.push(finding);
    else this.#dropped++;
  }

  addAll(findings: Iterable<Finding>): void {
    for (const finding of findings) this.add(finding);
  }

  warn(path: string, code: string, message: string): void {
    this.add({ path, offset: null, code, severity: 'warning', message });
  }

  /** The paths of findings so far that `isWanted`. */
  pathsOf(isWanted: (finding: Finding) => boolean): ReadonlySet<string> {
    return new Set(this.#findings.filter(isWanted).map(({ path }) => path));
  }

  build(engine: string, level: Level, medium: boolean, counts: Counts): Report {
    if (this.#dropped > 0) {
      const message = `${this.#dropped} further findings are not listed`;
      this.#findings.push({ path: '', offset: null, code: 'FINDINGS_LIMIT', severity: 'warning', message });
    }
    const findings = this.#findings.sort(
      (a, b) => comparePaths(a.path, b.path) || (a.offset ?? -1) - (b.offset ?? -1),
    );
    const verdict = WORST_FIRST.find((one) => this.#verdicts.has(one)) ?? 'faithful';
    return {
      ok: verdict === 'faithful',
      verdict,
      level,
      medium,
      engine,
      steps: this.#steps,
      counts,
      findings,
    };
  }
}

export function addUp(checks: Iterable<FileCheck>): Counts {
  const counts = noCounts();
  for (const { counts: part, sizeBytes } of checks) {
    counts.files++;
    counts.bytes += sizeBytes;
    counts.tables += part.tables ?? 0;
    counts.blocks += part.blocks ?? 0;
    counts.entries += part.entries ?? 0;
    counts.walEntries += part.walEntries ?? 0;
    counts.walLastLsn = part.walLastLsn ?? counts.walLastLsn;
  }
  return counts;
}

const round = (ms: number): number => Math.round(ms * 100) / 100;
