import type { Run, Status } from './api.ts';
import type { Offsite } from './offsite.ts';
import { Prose } from './prose.tsx';
import { ago, time } from './text.ts';

const SHOWN = 10;

interface Failure {
  readonly id: string;
  readonly what: string;
  readonly atMs: number | null;
  readonly reason: string;
}

interface Props {
  readonly status: Status;
  readonly runs: readonly Run[];
  readonly offsite: Offsite | undefined;
  readonly nowMs: number;
}

/** What failed, with the reason: the newest ten. */
export function Failures({ status, runs, offsite, nowMs }: Props) {
  const failures = [...recovery(status), ...failedRuns(runs), ...failedJobs(offsite)]
    .sort((a, b) => (b.atMs ?? 0) - (a.atMs ?? 0))
    .slice(0, SHOWN);
  return (
    <section aria-labelledby="failed" class="card">
      <h2 id="failed">What failed?</h2>
      {failures.length === 0 ? (
        <p>Nothing that is on record.</p>
      ) : (
        <ul>
          {failures.map(({ id, what, atMs, reason }) => (
            <li key={id}>
              <strong>{what}</strong>
              {atMs !== null && (
                <>
                  ,{' '}
                  <time dateTime={new Date(atMs).toISOString()} title={time(atMs)}>
                    {ago(atMs, nowMs)}
                  </time>
                </>
              )}
              : <Prose text={reason} />
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function recovery({ recovery_state: last }: Status): Failure[] {
  if (last?.outcome !== 'failed') return [];
  const { finished_at_ms: atMs, reason } = last;
  return [{ id: 'recovery', what: 'Recovery at the start', atMs, reason: reason ?? '' }];
}

const RUN_NAMES: Readonly<Record<Run['kind'], string>> = {
  backup: 'Snapshot',
  archive: 'Archive',
  export: 'Export',
  transient: 'Snapshot for a backup',
  restore: 'Restore',
  undo: 'Undo of a restore',
  verify: 'Proof of snapshots',
  prune: 'Removal of old snapshots',
  delete: 'Removal of a snapshot',
};

const failedRuns = (runs: readonly Run[]): Failure[] =>
  runs
    .filter(({ state }) => state.status === 'failed')
    .map(({ id, kind, state }) => ({
      id,
      what: RUN_NAMES[kind],
      atMs: state.finished_at_ms,
      reason: state.reason ?? state.code ?? '',
    }));

const failedJobs = (offsite: Offsite | undefined): Failure[] =>
  (offsite?.jobs ?? [])
    .filter(({ status }) => status === 'failed' || status === 'interrupted')
    .map(({ id, kind, finished_at_ms: atMs, error, error_code }) => ({
      id,
      what:
        kind === 'backup'
          ? 'Backup off the machine'
          : `${kind[0]!.toUpperCase()}${kind.slice(1)} of a backup`,
      atMs,
      reason: error ?? error_code ?? 'interrupted',
    }));
