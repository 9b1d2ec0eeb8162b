import type { Status } from './api.ts';
import { ago, time } from './text.ts';

/** What failed, with the reason. */
export function Failures({ status, nowMs }: { status: Status; nowMs: number }) {
  const { safety, restore_state: restored, recovery_state: recovery } = status;
  const failures: { what: string; atMs: number | null; reason: string }[] = [];
  const last = safety?.last_failure ?? null;
  if (last !== null)
    failures.push({ what: 'Snapshot', atMs: last.at_ms, reason: last.reason ?? last.code ?? '' });
  if (restored?.status === 'failed')
    failures.push({ what: 'Restore', atMs: restored.finished_at_ms, reason: restored.reason ?? '' });
  if (recovery !== null && recovery.outcome === 'failed')
    failures.push({
      what: 'Recovery at the start',
      atMs: recovery.finished_at_ms,
      reason: recovery.reason ?? '',
    });
  return (
    <section aria-labelledby="failed" class="card">
      <h2 id="failed">What failed?</h2>
      {failures.length === 0 ? (
        <p>Nothing that is on record.</p>
      ) : (
        <ul>
          {failures.map(({ what, atMs, reason }) => (
            <li key={what}>
              <strong>{what}</strong>
              {atMs !== null && (
                <>
                  ,{' '}
                  <time dateTime={new Date(atMs).toISOString()} title={time(atMs)}>
                    {ago(atMs, nowMs)}
                  </time>
                </>
              )}
              : {reason}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
