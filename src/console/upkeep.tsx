import type { Run } from './api.ts';
import { ago, bytes, plural, time } from './text.ts';

const SHOWN = 10;

/** What was verified and removed: the newest ten. */
export function Upkeep({ runs, nowMs }: { readonly runs: readonly Run[]; readonly nowMs: number }) {
  const kept = runs.filter(({ kind }) => kind in VERBS).slice(0, SHOWN);
  return (
    <section aria-labelledby="upkeep" class="card">
      <h2 id="upkeep">What was proven again or removed?</h2>
      {kept.length === 0 ? (
        <p>Nothing that is on record.</p>
      ) : (
        <ul>
          {kept.map((run) => (
            <li key={run.id}>
              <strong>{VERBS[run.kind]}</strong>, <When atMs={run.state.finished_at_ms ?? 0} nowMs={nowMs} />:{' '}
              {outcome(run)}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

const When = ({ atMs, nowMs }: { readonly atMs: number; readonly nowMs: number }) => (
  <time dateTime={new Date(atMs).toISOString()} title={time(atMs)}>
    {ago(atMs, nowMs)}
  </time>
);

const VERBS: Readonly<Partial<Record<Run['kind'], string>>> = {
  verify: 'Verified',
  prune: 'Pruned',
  delete: 'Deleted',
};

function outcome({ kind, location, state, upkeep }: Run): string {
  if (state.code !== null) return state.reason ?? state.code;
  if (upkeep === null) return 'done';
  const { folders, removed, freed_bytes: freedBytes } = upkeep;
  if (kind === 'verify') return `${plural(folders, 'snapshot')} looked at, none is damaged`;
  const freed = `${bytes(freedBytes)} freed`;
  return kind === 'delete'
    ? `${location.split('/').at(-1)}, ${freed}`
    : `${removed} of ${folders} removed, ${freed}`;
}
