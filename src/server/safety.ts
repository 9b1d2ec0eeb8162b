import type { OffsiteStanding } from '../backup/repository-standings.ts';
import { type WholeStatus, wholeStatus } from '../backup/status-advice.ts';
import type { SnapshotList } from '../coordinator/snapshots.ts';
import { statusFrom } from '../coordinator/status.ts';
import { type Findings, gather } from '../coordinator/status-findings.ts';
import type { Clock } from '../env/clock.ts';
import { directoryOf, type Lifecycle } from '../operation/lifecycle.ts';
import type { Environment } from '../snapshot/environment.ts';
import { withDeleteRefusals } from '../snapshot/store/delete-refusal.ts';
import { jobsFile, proofsFolder } from '../snapshot/store/layout.ts';

/**
 * So long an answer counts at least, and at most: status is asked for often, and looking at thousands of files takes a while. Between
 * them no more than a twentieth of the time is spent with looking.
 */
const LEAST_FRESH_MS = 5_000;
const MOST_FRESH_MS = 60_000;
const SHARE = 20;

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
    const { clock } = environment;
    this.#findings = new Kept(
      clock,
      () => this.#look(),
      () => this.#mark(),
    );
    this.#offsite = new Kept(
      clock,
      () => this.#askJobs(),
      () => this.#jobsMark(),
    );
  }

  /** Something was written, verified or removed: the next question looks again. */
  forget(): void {
    this.#findings.forget();
    this.#offsite.forget();
  }

  /** Of the last seconds, or as long as it takes where there are very many. A snapshot that comes or goes, and each proof, is seen at once. */
  findings(): Promise<Findings> {
    return this.#findings.read();
  }

  /** What `Snapshots.list` says. */
  async list(): Promise<SnapshotList> {
    const { latest, latestGood, snapshots, total } = await this.findings();
    const nowMs = this.#environment.clock.nowMs();
    const aged = snapshots.map((snapshot) => ({ ...snapshot, ageMs: nowMs - snapshot.createdAtMs }));
    const layout = await directoryOf(this.#lifecycle).layout();
    const marked = { latest, latestGood, snapshots: aged };
    return { ...marked, snapshots: await withDeleteRefusals(this.#environment, layout, marked), total };
  }

  /** What `stillpoint status` says. Rejects when the lifecycle folder cannot be looked at. */
  async status(maxAgeMs: number | undefined): Promise<WholeStatus> {
    const nowMs = this.#environment.clock.nowMs();
    const findings = await this.findings();
    const status = statusFrom(findings, nowMs, maxAgeMs);
    return wholeStatus(status, await this.#offsite.read(), findings.dataDir, nowMs);
  }

  async #look(): Promise<Findings> {
    const layout = await directoryOf(this.#lifecycle).layout();
    return gather(this.#environment, layout, await this.#lifecycle.runs());
  }

  /** What changes when a snapshot comes or goes or is proven, and with each run. */
  async #mark(): Promise<string> {
    const { backup, undo, records, upkeep } = await directoryOf(this.#lifecycle).layout();
    return this.#marks([backup, proofsFolder(backup), undo, records, upkeep]);
  }

  /** What changes with each job; of a job store elsewhere nothing tells it. */
  async #jobsMark(): Promise<string> {
    if (this.#jobs() !== undefined) return '';
    return this.#marks([jobsFile(await directoryOf(this.#lifecycle).layout())]);
  }

  async #marks(places: readonly string[]): Promise<string> {
    const stats = await Promise.all(places.map((place) => this.#environment.fs.inspect(place)));
    return stats.map((stat) => `${stat?.ino} ${stat?.mtimeNs} ${stat?.sizeBytes}`).join(', ');
  }

  async #askJobs(): Promise<OffsiteStanding> {
    const { offsiteStanding } = await import('../backup/repository-standings.ts');
    return offsiteStanding(this.#lifecycle.dataDir, { environment: this.#environment, jobs: this.#jobs() });
  }
}

/** An answer that counts for a while. A look that failed is not kept. */
class Kept<T> {
  readonly #clock: Clock;
  readonly #look: () => Promise<T>;
  readonly #mark: () => Promise<string>;
  #last: Look<T> | undefined;

  /** @param mark Another one says that something has changed since. */
  constructor(clock: Clock, look: () => Promise<T>, mark: () => Promise<string> = async () => '') {
    this.#clock = clock;
    this.#look = look;
    this.#mark = mark;
  }

  forget(): void {
    this.#last = undefined;
  }

  /** Those who ask at once wait for one look. */
  async read(): Promise<T> {
    const mark = await this.#mark();
    const nowMs = this.#clock.monotonicMs();
    const last = this.#last;
    if (last?.mark === mark && (last.tookMs === undefined || nowMs - last.beganAtMs < freshMs(last.tookMs)))
      return last.answer;
    const look: Look<T> = { mark, beganAtMs: nowMs, tookMs: undefined, answer: this.#look() };
    this.#last = look;
    look.answer.then(
      () => {
        look.tookMs = this.#clock.monotonicMs() - nowMs;
      },
      () => {
        if (this.#last === look) this.#last = undefined;
      },
    );
    return look.answer;
  }
}

interface Look<T> {
  readonly mark: string;
  readonly beganAtMs: number;
  /** Undefined while it is under way. */
  tookMs: number | undefined;
  readonly answer: Promise<T>;
}

const freshMs = (tookMs: number): number => Math.min(Math.max(LEAST_FRESH_MS, SHARE * tookMs), MOST_FRESH_MS);
