import { type Gauge, Registry } from 'prom-client';
import { statusFrom } from '../coordinator/status.ts';
import type { Findings } from '../coordinator/status-findings.ts';
import type { Clock } from '../env/clock.ts';
import { residentBytes } from '../env/runtime.ts';
import { warn } from '../env/safe-calls.ts';
import type { Lifecycle } from '../operation/lifecycle.ts';
import { RECORD_KINDS, type RecordKind, RUN_KINDS, type RunRecord } from '../operation/run-record.ts';
import type { ScheduleState } from '../schedule/index.ts';
import { SNAPSHOT_STATES } from '../snapshot/store/standing.ts';
import { VERSION } from '../snapshot/version.ts';
import { MetricSet } from './metric-set.ts';
import type { Measured } from './plans.ts';
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

const OUTCOMES = ['completed', 'failed', 'cancelled'] as const;

interface Sources {
  readonly clock: Clock;
  readonly engine: string;
  readonly lifecycle: Lifecycle;
  readonly safety: Safety;
  readonly connections: () => number;
  readonly isOpen: () => boolean;
  readonly planStates: () => Promise<readonly ScheduleState[]>;
  readonly lastDrill: () => Promise<Measured | undefined>;
}

/** What Prometheus scrapes: base units, counters since the start of the process, moments as seconds since 1970. */
export class Prometheus {
  readonly #sources: Sources;
  readonly #set = new MetricSet();

  constructor(sources: Sources) {
    this.#sources = sources;
    const { clock, engine } = sources;
    this.#set.build.set({ version: VERSION, engine }, 1);
    this.#set.started.set(clock.nowMs() / 1000);
    // At 0 from the start: a rate needs a first value.
    for (const kind of RUN_KINDS) {
      this.#set.runBytes.inc({ kind }, 0);
      for (const outcome of OUTCOMES) this.#set.runs.inc({ kind, outcome }, 0);
    }
  }

  /** @param route As it was registered, so that names and keys of users are in no label. */
  answered(method: string, route: string | undefined, code: number, elapsedMs: number): void {
    this.#set.requests.inc({ method, route: route ?? 'none', code });
    this.#set.requestSeconds.observe(
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
    this.#set.runs.inc({ kind, outcome });
    this.#set.runBytes.inc({ kind }, state.progress?.bytesProcessed ?? 0);
    const { startedAtMs, finishedAtMs } = state;
    if (outcome === 'completed' && startedAtMs !== null && finishedAtMs !== null)
      this.#set.runSeconds.observe({ kind }, Math.max(0, finishedAtMs - startedAtMs) / 1000);
  }

  async text(format: MetricsFormat): Promise<{ type: string; text: string }> {
    const { lifecycle, safety, connections, isOpen } = this.#sources;
    this.#set.connections.set(connections());
    this.#set.resident.set(residentBytes() ?? Number.NaN);
    this.#set.open.set(Number(isOpen()));
    this.#set.mode.reset();
    this.#set.mode.set({ mode: lifecycle.mode }, 1);
    const findings = await safety.findings().catch((error) => void warn(error));
    this.#tell(findings ?? undefined);
    await this.#tellPlans();
    await this.#tellRestore(findings ?? undefined);
    return { type: CONTENT_TYPES[format], text: await this.#set.registries[format].metrics() };
  }

  #tell(findings: Findings | undefined): void {
    this.#set.lookedAt.set(Number(findings !== undefined));
    this.#set.snapshots.reset();
    if (findings === undefined) {
      for (const { gauge } of this.#set.ofSnapshots) gauge.remove(); // better none than an old one
      return;
    }
    for (const state of SNAPSHOT_STATES) {
      const count = findings.snapshots.filter((snapshot) => snapshot.state === state).length;
      this.#set.snapshots.set({ state }, count);
    }
    const status = statusFrom(findings, this.#sources.clock.nowMs(), undefined);
    for (const { gauge, value } of this.#set.ofSnapshots) gauge.set(value(status));
    for (const kind of RECORD_KINDS) {
      setMoment(this.#set.lastSuccess, kind, findings, 'completed');
      setMoment(this.#set.lastFailure, kind, findings, 'failed');
    }
  }

  /** Better nothing than what was true once. */
  async #tellPlans(): Promise<void> {
    const states = await this.#sources.planStates().catch((error) => void warn(error));
    this.#set.overdue.reset();
    this.#set.planSuccess.reset();
    this.#set.nextDue.reset();
    for (const { plan, action, overdue, lastSuccessMs, nextDueMs } of states ?? []) {
      this.#set.overdue.set({ plan, action }, Number(overdue));
      this.#set.planSuccess.set({ plan, action }, (lastSuccessMs ?? 0) / 1000);
      if (nextDueMs !== null) this.#set.nextDue.set({ plan, action }, nextDueMs / 1000);
    }
  }

  async #tellRestore(findings: Findings | undefined): Promise<void> {
    const drill = await this.#sources.lastDrill().catch((error) => void warn(error));
    const restore = findings && statusFrom(findings, 0, undefined).lastRestore;
    const newest = [drill, restore].filter((one) => one != null).sort((a, b) => b.atMs - a.atMs)[0];
    this.#set.restoreSeconds.remove();
    if (newest !== undefined) this.#set.restoreSeconds.set(newest.tookMs / 1000);
  }
}

function setMoment(
  gauge: Gauge<'kind'>,
  kind: RecordKind,
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
