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
  /** What to do about it. */
  readonly hint: string | null;
  readonly isSolved: boolean;
}

interface Props {
  readonly status: Status;
  readonly runs: readonly Run[];
  readonly offsite: Offsite | undefined;
  readonly nowMs: number;
}

/** What failed, with the reason: the newest ten. */
export function Failures({ status, runs, offsite, nowMs }: Props) {
  const failures = [...recovery(status), ...failedRuns(runs, status), ...failedJobs(offsite)]
    .sort((a, b) => (b.atMs ?? 0) - (a.atMs ?? 0))
    .slice(0, SHOWN);
  return (
    <section aria-labelledby="failed" class="card">
      <h2 id="failed">What failed?</h2>
      {failures.length === 0 ? (
        <p>Nothing that is on record.</p>
      ) : (
        <ul>
          {failures.map(({ id, what, atMs, reason, hint, isSolved }) => (
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
              {isSolved && <span class="badge good">solved since</span>}: <Prose text={reason} />
              {hint !== null && !isSolved && (
                <p>
                  <strong>What to do:</strong> <Prose text={hint} />
                </p>
              )}
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
  return [
    {
      id: 'recovery',
      what: 'Recovery at the start',
      atMs,
      reason: reason ?? '',
      hint: null,
      isSolved: false,
    },
  ];
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

/** Newest first. A proof that found damage is solved once none is known; all else once the same succeeded. */
const failedRuns = (runs: readonly Run[], { safety }: Status): Failure[] =>
  runs
    .map((run, at) => ({ ...run, newer: runs.slice(0, at) }))
    .filter(({ state }) => state.status === 'failed')
    .map(({ id, kind, state, newer }) => ({
      id,
      what: RUN_NAMES[kind],
      atMs: state.finished_at_ms,
      reason: state.reason ?? state.code ?? '',
      hint: state.hint,
      isSolved:
        kind === 'verify'
          ? safety !== null && !safety.source_damaged && [...safety.damaged, ...safety.unread].length === 0
          : newer.some((run) => run.kind === kind && run.state.status === 'completed'),
    }));

const failedJobs = (offsite: Offsite | undefined): Failure[] =>
  (offsite?.jobs ?? [])
    .map((job, at, jobs) => ({ ...job, newer: jobs.slice(0, at) }))
    .filter(({ status }) => status === 'failed' || status === 'interrupted')
    .map(
      ({
        id,
        kind,
        finished_at_ms: atMs,
        error,
        error_code,
        error_hint: hint,
        newer,
        repository_url: url,
        backup_id,
      }) => ({
        id,
        what:
          kind === 'backup'
            ? 'Backup off the machine'
            : `${kind[0]!.toUpperCase()}${kind.slice(1)} of a backup`,
        atMs,
        reason: error ?? error_code ?? 'interrupted',
        hint,
        isSolved: newer.some(
          (job) =>
            job.kind === kind &&
            job.status === 'succeeded' &&
            job.repository_url === url &&
            (kind === 'backup' || job.backup_id === backup_id),
        ),
      }),
    );
