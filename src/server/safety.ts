import type { OffsiteStanding } from '../backup/repository-standings.ts';
import { type Findings, gather, type SnapshotsStatus, statusFrom, withNotes } from '../coordinator/status.ts';
import { directoryOf, type Lifecycle } from '../operation/lifecycle.ts';
import type { Environment } from '../snapshot/environment.ts';

/** So long an answer counts: status is asked for often, and looking at thousands of files takes a while. */
const FRESH_MS = 5_000;

export type SafetyStatus = SnapshotsStatus & Pick<OffsiteStanding, 'repositories'>;

/** What is known of the snapshots, and of backups elsewhere, for `status` and the metrics. */
export class Safety {
  readonly #environment: Environment;
  readonly #lifecycle: Lifecycle;
  readonly #jobs: () => string | undefined;
  readonly #findings: Kept<Findings>;
  readonly #offsite: Kept<OffsiteStanding>;

  /** @param jobs Where jobs are kept, if not in the data directory. */
  constructor(environment: Environment, lifecycle: Lifecycle, jobs: () => string | undefined) {
    this.#environment = environment;
    this.#lifecycle = lifecycle;
    this.#jobs = jobs;
    this.#findings = new Kept(environment, () => this.#look());
    this.#offsite = new Kept(environment, () => this.#askJobs());
  }

  /** Something was written, verified or removed: the next question looks again. */
  forget(): void {
    this.#findings.forget();
    this.#offsite.forget();
  }

  /** Of the last seconds. Those who ask at once wait for one look. */
  findings(): Promise<Findings> {
    return this.#findings.read();
  }

  /** What `stillpoint status` says. Rejects when the lifecycle folder cannot be looked at. */
  async status(maxAgeMs: number | undefined): Promise<SafetyStatus> {
    const nowMs = this.#environment.clock.nowMs();
    const status = statusFrom(await this.findings(), nowMs, maxAgeMs);
    const { repositories, notesAt } = await this.#offsite.read();
    return { ...withNotes(status, notesAt(nowMs)), repositories };
  }

  async #look(): Promise<Findings> {
    const layout = await directoryOf(this.#lifecycle).layout();
    return gather(this.#environment, layout, await this.#lifecycle.runs());
  }

  async #askJobs(): Promise<OffsiteStanding> {
    const { offsiteStanding } = await import('../backup/repository-standings.ts');
    return offsiteStanding(this.#lifecycle.dataDir, { environment: this.#environment, jobs: this.#jobs() });
  }
}

/** An answer of the last seconds. A look that failed is not kept. */
class Kept<T> {
  readonly #environment: Environment;
  readonly #look: () => Promise<T>;
  #looked: { readonly atMs: number; readonly answer: Promise<T> } | undefined;

  constructor(environment: Environment, look: () => Promise<T>) {
    this.#environment = environment;
    this.#look = look;
  }

  forget(): void {
    this.#looked = undefined;
  }

  read(): Promise<T> {
    const nowMs = this.#environment.clock.monotonicMs();
    if (this.#looked !== undefined && nowMs - this.#looked.atMs < FRESH_MS) return this.#looked.answer;
    const looked = { atMs: nowMs, answer: this.#look() };
    this.#looked = looked;
    looked.answer.catch(() => {
      if (this.#looked === looked) this.#looked = undefined;
    });
    return looked.answer;
  }
}
