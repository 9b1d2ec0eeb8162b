import { Counter, Gauge, Histogram, type OpenMetricsContentType, Registry } from 'prom-client';
import { type Findings, type SnapshotsStatus, statusFrom } from '../coordinator/status.ts';
import type { Clock } from '../env/clock.ts';
import { residentBytes } from '../env/runtime.ts';
import { warn } from '../env/safe-calls.ts';
import type { Lifecycle } from '../operation/lifecycle.ts';
import { RUN_KINDS, type RunKind, type RunRecord } from '../operation/records.ts';
import type { ScheduleState } from '../schedule/index.ts';
import { SNAPSHOT_STATES } from '../snapshot/store/standing.ts';
import { VERSION } from '../snapshot/version.ts';
import type { Safety } from './safety.ts';

/**
 * - `prometheus`: the text format 0.0.4.
 * - `openmetrics`: the text format of OpenMetrics 1.0.0.
 */
export type MetricsFormat = 'prometheus' | 'openmetrics';

const CONTENT_TYPES = {
  prometheus: Registry.PROMETHEUS_CONTENT_TYPE,
  openmetrics: Registry.OPENMETRICS_CONTENT_TYPE,
} as const;

const REQUEST_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];
const RUN_SECONDS = [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600];
const OUTCOMES = ['completed', 'failed', 'cancelled'] as const;

interface Sources {
  readonly clock: Clock;
  readonly engine: string;
  readonly lifecycle: Lifecycle;
  readonly safety: Safety;
  readonly connections: () => number;
  readonly isOpen: () => boolean;
  readonly planStates: () => Promise<readonly ScheduleState[]>;
}

/** What Prometheus scrapes: base units, counters since the start of the process, moments as seconds since 1970. */
export class Prometheus {
  readonly #sources: Sources;
  /** Of our own: the global one of `prom-client` belongs to the host. Both hold the same metrics. */
  readonly #registries = {
    prometheus: new Registry(),
    openmetrics: openMetricsRegistry(),
  };
  readonly #requests = this.#counter('http_requests_total', 'Requests that were answered.', [
    'method',
    'route',
    'code',
  ]);
  readonly #requestSeconds = this.#histogram(
    'http_request_duration_seconds',
    'Time until the answer began.',
    ['area'],
    REQUEST_SECONDS,
  );
  readonly #runs = this.#counter('runs_total', 'Snapshots, restores and undos that ended.', [
    'kind',
    'outcome',
  ]);
  readonly #runSeconds = this.#histogram(
    'run_duration_seconds',
    'How long those took that were completed.',
    ['kind'],
    RUN_SECONDS,
  );
  readonly #runBytes = this.#counter('run_read_bytes_total', 'Bytes that runs have read, copies included.', [
    'kind',
  ]);
  readonly #lastSuccess = this.#gauge(
    'last_success_timestamp_seconds',
    'When the last run of this kind was completed, also before a restart.',
    ['kind'],
  );
  readonly #lastFailure = this.#gauge(
    'last_failure_timestamp_seconds',
    'When the last run of this kind failed, also before a restart.',
    ['kind'],
  );
  readonly #snapshots = this.#gauge('snapshots', 'Snapshots by what their last proof says.', ['state']);
  readonly #lookedAt = this.#gauge(
    'snapshots_readable',
    'Whether the snapshots could be looked at for this answer; without, what is said of them is left out.',
  );
  /** What is said of the snapshots as a whole. */
  readonly #ofSnapshots: readonly { readonly gauge: Gauge; value(status: SnapshotsStatus): number }[] = [
    this.#about(
      'safe',
      'Whether a good snapshot is there, none is damaged and no restore is unfinished.',
      (s) => Number(s.safe),
    ),
    this.#about(
      'newest_good_snapshot_timestamp_seconds',
      'When the newest snapshot was taken that is proven and not known to be damaged; 0 when there is none.',
      ({ newestGood }) => (newestGood?.createdAtMs ?? 0) / 1000,
    ),
    this.#about(
      'last_verified_timestamp_seconds',
      'When the newest good snapshot was last verified in whole; 0 when there is none.',
      ({ newestGood }) => (newestGood?.verifiedAtMs ?? 0) / 1000,
    ),
    this.#about(
      'oldest_proof_timestamp_seconds',
      'The oldest verification among good snapshots; 0 when there is none.',
      ({ oldestProof }) => (oldestProof?.verifiedAtMs ?? 0) / 1000,
    ),
    this.#about('snapshots_disk_bytes', 'What all snapshots take on the disk.', (s) => s.total.diskBytes),
    this.#about('undo_folders', 'Folders with what restores in place replaced.', (s) => s.undo.count),
    this.#about('undo_disk_bytes', 'What the undo folders take on the disk.', (s) => s.undo.diskBytes),
    this.#about('archives', 'Snapshots in the archive.', (s) => s.archives.count),
    this.#about('archives_disk_bytes', 'What the archive takes on the disk.', (s) => s.archives.diskBytes),
    this.#about('exports', 'Snapshots in the export folder.', (s) => s.exports.count),
    this.#about('exports_disk_bytes', 'What the exports take on the disk.', (s) => s.exports.diskBytes),
    this.#about('disk_free_bytes', 'Free space on the file system of the data.', (s) => s.freeBytes),
  ];
  readonly #overdue = this.#gauge(
    'plan_overdue',
    'Whether an action of a plan has not succeeded for too long after it was due.',
    ['plan', 'action'],
  );
  readonly #planSuccess = this.#gauge(
    'plan_last_success_timestamp_seconds',
    'When an action of a plan last succeeded; 0: never.',
    ['plan', 'action'],
  );
  readonly #open = this.#gauge('database_open', 'Whether the database is open.');
  readonly #mode = this.#gauge('mode', 'The present mode has 1.', ['mode']);
  readonly #connections = this.#gauge('connections', 'Open connections.');
  readonly #resident = this.#gauge('process_resident_memory_bytes', 'Resident memory.');

  constructor(sources: Sources) {
    this.#sources = sources;
    const { clock, engine } = sources;
    this.#gauge('build_info', 'Version and engine.', ['version', 'engine']).set(
      { version: VERSION, engine },
      1,
    );
    this.#gauge('process_start_time_seconds', 'When the server was started.').set(clock.nowMs() / 1000);
    // At 0 from the start: a rate needs a first value.
    for (const kind of RUN_KINDS) {
      this.#runBytes.inc({ kind }, 0);
      for (const outcome of OUTCOMES) this.#runs.inc({ kind, outcome }, 0);
    }
  }

  /** @param route As it was registered, so that names and keys of users are in no label. */
  answered(method: string, route: string | undefined, code: number, elapsedMs: number): void {
    this.#requests.inc({ method, route: route ?? 'none', code });
    this.#requestSeconds.observe(
      { area: route?.startsWith('/api/admin') ? 'admin' : 'data' },
      elapsedMs / 1000,
    );
  }

  /** A run has ended; its record says how. */
  async ended(id: string): Promise<void> {
    const record = (await this.#sources.lifecycle.runs()).find((run) => run.id === id);
    if (record !== undefined) this.#count(record);
  }

  #count({ kind, state }: RunRecord): void {
    const outcome = OUTCOMES.find((outcome) => outcome === state.status);
    if (outcome === undefined) return;
    this.#runs.inc({ kind, outcome });
    this.#runBytes.inc({ kind }, state.progress?.bytesProcessed ?? 0);
    const { startedAtMs, finishedAtMs } = state;
    if (outcome === 'completed' && startedAtMs !== null && finishedAtMs !== null)
      this.#runSeconds.observe({ kind }, Math.max(0, finishedAtMs - startedAtMs) / 1000);
  }

  async text(format: MetricsFormat): Promise<{ type: string; text: string }> {
    const { lifecycle, safety, connections, isOpen } = this.#sources;
    this.#connections.set(connections());
    this.#resident.set(residentBytes());
    this.#open.set(Number(isOpen()));
    this.#mode.reset();
    this.#mode.set({ mode: lifecycle.mode }, 1);
    const findings = await safety.findings().catch((error) => void warn(error));
    this.#tell(findings ?? undefined);
    await this.#tellPlans();
    return { type: CONTENT_TYPES[format], text: await this.#registries[format].metrics() };
  }

  #tell(findings: Findings | undefined): void {
    this.#lookedAt.set(Number(findings !== undefined));
    this.#snapshots.reset();
    if (findings === undefined) {
      for (const { gauge } of this.#ofSnapshots) gauge.remove(); // better none than an old one
      return;
    }
    for (const state of SNAPSHOT_STATES) {
      const count = findings.snapshots.filter((snapshot) => snapshot.state === state).length;
      this.#snapshots.set({ state }, count);
    }
    const status = statusFrom(findings, this.#sources.clock.nowMs(), undefined);
    for (const { gauge, value } of this.#ofSnapshots) gauge.set(value(status));
    for (const kind of RUN_KINDS) {
      setMoment(this.#lastSuccess, kind, findings, 'completed');
      setMoment(this.#lastFailure, kind, findings, 'failed');
    }
  }

  /** Better nothing than what was true once. */
  async #tellPlans(): Promise<void> {
    const states = await this.#sources.planStates().catch((error) => void warn(error));
    this.#overdue.reset();
    this.#planSuccess.reset();
    for (const { plan, action, overdue, lastSuccessMs } of states ?? []) {
      this.#overdue.set({ plan, action }, Number(overdue));
      this.#planSuccess.set({ plan, action }, (lastSuccessMs ?? 0) / 1000);
    }
  }

  #about(name: string, help: string, value: (status: SnapshotsStatus) => number) {
    return { gauge: this.#gauge(name, help), value };
  }

  #gauge<Label extends string = never>(name: string, help: string, labelNames: Label[] = []): Gauge<Label> {
    return new Gauge({ name: nameOf(name), help, labelNames, registers: Object.values(this.#registries) });
  }

  #counter<Label extends string>(name: string, help: string, labelNames: Label[]): Counter<Label> {
    return new Counter({ name: nameOf(name), help, labelNames, registers: Object.values(this.#registries) });
  }

  #histogram<Label extends string>(
    name: string,
    help: string,
    labelNames: Label[],
    buckets: number[],
  ): Histogram<Label> {
    const registers = Object.values(this.#registries);
    return new Histogram({ name: nameOf(name), help, labelNames, buckets, registers });
  }
}

function openMetricsRegistry(): Registry<OpenMetricsContentType> {
  const registry = new Registry<OpenMetricsContentType>();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  return registry;
}

/** What every exporter has keeps its usual name. */
const nameOf = (name: string): string => (name.startsWith('process_') ? name : `stillpoint_${name}`);

function setMoment(
  gauge: Gauge<'kind'>,
  kind: RunKind,
  { runs }: Findings,
  status: 'completed' | 'failed',
): void {
  const run = runs.findLast((run) => run.kind === kind && run.state.status === status);
  const atMs = run?.state.finishedAtMs;
  if (atMs != null) gauge.set({ kind }, atMs / 1000);
}

/** The format that an Accept header prefers; undefined for JSON, which also whoever takes anything gets. */
export function formatFor(accept: string | undefined): MetricsFormat | undefined {
  let best: { format: MetricsFormat | undefined; quality: number } = { format: undefined, quality: 0 };
  for (const part of (accept ?? '').split(',')) {
    const [type = '', ...parameters] = part.split(';').map((text) => text.trim().toLowerCase());
    const quality = Number(parameters.find((text) => text.startsWith('q='))?.slice(2) ?? 1);
    if (quality > best.quality && FORMATS.has(type)) best = { format: FORMATS.get(type), quality };
  }
  return best.format;
}

const FORMATS: ReadonlyMap<string, MetricsFormat | undefined> = new Map([
  ['application/openmetrics-text', 'openmetrics'],
  ['text/plain', 'prometheus'],
  ['application/json', undefined],
]);
