import type { RepositoryStanding, Status } from './api.ts';
import { ago, span } from './text.ts';

interface Props {
  readonly safety: Status['safety'];
  readonly nowMs: number;
}

/** Is there a copy elsewhere? What the data directory remembers of each repository; none of them is asked. */
export function Backups({ safety, nowMs }: Props) {
  const repositories = safety?.repositories ?? null;
  return (
    <section aria-labelledby="elsewhere" class="card">
      <h2 id="elsewhere">Is there a copy elsewhere?</h2>
      {repositories === null && <p class="unsure">Not known: the record of backups cannot be read.</p>}
      {repositories?.length === 0 && (
        <p class="unsure">
          No backup is on record. The disk of the snapshots is a single point of failure: back up to another
          one with <code>stillpoint backup run</code>.
        </p>
      )}
      {repositories?.map((repository) => (
        <Repository
          key={repository.repository_id ?? repository.repository_url ?? ''}
          repository={repository}
          nowMs={nowMs}
        />
      ))}
    </section>
  );
}

function Repository({ repository, nowMs }: { repository: RepositoryStanding; nowMs: number }) {
  const { repository_url, shares_disk, newest_backup, last_verified, last_drill, failing } = repository;
  return (
    <>
      <h3>{repository_url ?? 'A repository'}</h3>
      <ul>
        <li>Newest backup: {newest_backup === null ? 'none' : ago(newest_backup.created_at_ms, nowMs)}</li>
        <li>
          Last read back:{' '}
          {last_verified === null
            ? 'never'
            : `${ago(last_verified.at_ms, nowMs)}${last_verified.backup_id === newest_backup?.backup_id ? '' : ', an older backup'}`}
        </li>
        <li>
          Last drill:{' '}
          {last_drill === null
            ? 'never'
            : `${ago(last_drill.at_ms, nowMs)}, restored in ${span(last_drill.took_ms)}`}
        </li>
        {shares_disk && <li class="unsure">It is on the disk of the data: if that fails, both are lost.</li>}
        {failing.map(({ kind, at_ms, code, reason }) => (
          <li key={kind} class="bad">
            The last {kind} failed {ago(at_ms, nowMs)}: {reason ?? code ?? 'no reason is on record'}
          </li>
        ))}
      </ul>
    </>
  );
}
