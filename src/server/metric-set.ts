import { Counter, Gauge, Histogram, type OpenMetricsContentType, Registry } from 'prom-client';
import type { SnapshotsStatus } from '../coordinator/status.ts';

const REQUEST_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];
const RUN_SECONDS = [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600];

/** What a metric is, whatever its value. */
export interface MetricDefinition {
  readonly name: string;
  readonly help: string;
  readonly type: string;
}

/** Every metric of a server: names, labels, what each means. `prometheus.ts` fills them. */
export class MetricSet {
  /** Of our own: the global one of `prom-client` belongs to the host. Both hold the same metrics. */
  readonly registries = {
    prometheus: new Registry(),
    openmetrics: openMetricsRegistry(),
  };
  readonly requests = this.#counter('http_requests_total', 'Requests that were answered.', [
    'method',
    'route',
    'code',
  ]);
  readonly requestSeconds = this.#histogram(
    'http_request_duration_seconds',
    'Time until the answer began.',
    ['area'],
    REQUEST_SECONDS,
  );
  readonly runs = this.#counter('runs_total', 'Snapshots, restores and undos that ended.', [
    'kind',
    'outcome',
  ]);
  readonly runSeconds = this.#histogram(
    'run_duration_seconds',
    'How long those took that were completed.',
    ['kind'],
    RUN_SECONDS,
  );
  readonly runBytes = this.#counter('run_read_bytes_total', 'Bytes that runs have read, copies included.', [
    'kind',
  ]);
  readonly lastSuccess = this.#gauge(
    'last_success_timestamp_seconds',
    'When the last run of this kind was completed, also before a restart.',
    ['kind'],
  );
  readonly lastFailure = this.#gauge(
    'last_failure_timestamp_seconds',
    'When the last run of this kind failed, also before a restart.',
    ['kind'],
  );
  readonly snapshots = this.#gauge('snapshots', 'Snapshots by what their last proof says.', ['state']);
  readonly lookedAt = this.#gauge(
    'snapshots_readable',
    'Whether the snapshots could be looked at for this answer; without, what is said of them is left out.',
  );
  /** What is said of the snapshots as a whole. */
  readonly ofSnapshots: readonly { readonly gauge: Gauge; value(status: SnapshotsStatus): number }[] = [
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
    this.#about(
      'oldest_good_snapshot_timestamp_seconds',
      'How far back the data can be brought: when the oldest good snapshot was taken; 0 when there is none.',
      ({ oldestGood }) => (oldestGood?.createdAtMs ?? 0) / 1000,
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
  readonly overdue = this.#gauge(
    'plan_overdue',
    'Whether an action of a plan has not succeeded for too long after it was due.',
    ['plan', 'action'],
  );
  readonly planSuccess = this.#gauge(
    'plan_last_success_timestamp_seconds',
    'When an action of a plan last succeeded; 0: never.',
    ['plan', 'action'],
  );
  readonly nextDue = this.#gauge('plan_next_due_timestamp_seconds', 'When an action of a plan is due next.', [
    'plan',
    'action',
  ]);
  readonly restoreSeconds = this.#gauge(
    'last_restore_duration_seconds',
    'How long the last restore in place, or drill of a plan, took that succeeded; left out until one did.',
    [],
  );
  readonly build = this.#gauge('build_info', 'Version and engine.', ['version', 'engine']);
  readonly started = this.#gauge('process_start_time_seconds', 'When the server was started.');
  readonly open = this.#gauge('database_open', 'Whether the database is open.');
  readonly mode = this.#gauge('mode', 'The present mode has 1.', ['mode']);
  readonly connections = this.#gauge('connections', 'Open connections.');
  readonly resident = this.#gauge('process_resident_memory_bytes', 'Resident memory.');

  /** By name. */
  async definitions(): Promise<ReadonlyMap<string, MetricDefinition>> {
    const all = await this.registries.prometheus.getMetricsAsJSON();
    return new Map(all.map(({ name, help, type }) => [name, { name, help, type: String(type) }]));
  }

  #about(name: string, help: string, value: (status: SnapshotsStatus) => number) {
    return { gauge: this.#gauge(name, help), value };
  }

  #gauge<Label extends string = never>(name: string, help: string, labelNames: Label[] = []): Gauge<Label> {
    return new Gauge({ name: nameOf(name), help, labelNames, registers: Object.values(this.registries) });
  }

  #counter<Label extends string>(name: string, help: string, labelNames: Label[]): Counter<Label> {
    return new Counter({ name: nameOf(name), help, labelNames, registers: Object.values(this.registries) });
  }

  #histogram<Label extends string>(
    name: string,
    help: string,
    labelNames: Label[],
    buckets: number[],
  ): Histogram<Label> {
    const registers = Object.values(this.registries);
    return new Histogram({ name: nameOf(name), help, labelNames, buckets, registers });
  }
}

function openMetricsRegistry(): Registry<OpenMetricsContentType> {
  const registry = new Registry<OpenMetricsContentType>();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  return registry;
}

/** What every exporter has keeps its usual name. */
export const nameOf = (name: string): string => (name.startsWith('process_') ? name : `stillpoint_${name}`);
