import type { Snapshots, Status } from './api.ts';
import { recoverableWindow } from './history.ts';
import { ago, span, time } from './text.ts';

/** Am I safe? The server's own sentence, and the five numbers. */
export function Safety({ status, list, nowMs }: { status: Status; list: Snapshots; nowMs: number }) {
  const { safety } = status;
  const isSafe = safety?.safe === true && status.overall_status === 'ok';
  const sentence =
    safety === null
      ? 'Not known: the snapshots cannot be looked at.'
      : safety.safe && status.overall_status !== 'ok'
        ? `The snapshots are good, and the database is not well: mode ${status.mode.replace('_', ' ')}${reasonOf(status)}.`
        : safety.summary;
  return (
    <section aria-labelledby="safe" class={`card ${isSafe ? 'safe' : 'unsafe'}`}>
      <h2 id="safe">Am I safe?</h2>
      <p class={`sentence ${isSafe ? 'good' : 'bad'}`} role="status">
        <span aria-hidden="true">{isSafe ? '✔' : '✘'}</span> {sentence}
      </p>
      {safety !== null && safety.problems.length > 1 && (
        <ul>
          {safety.problems.map((problem) => (
            <li key={problem}>{problem}</li>
          ))}
        </ul>
      )}
      {safety !== null && safety.notes.length > 0 && (
        <ul class="small">
          {safety.notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
      <Numbers status={status} list={list} nowMs={nowMs} />
    </section>
  );
}

function Numbers({ status, list, nowMs }: { status: Status; list: Snapshots; nowMs: number }) {
  const { safety, restore_state: restored } = status;
  const window = recoverableWindow(list.snapshots);
  const lastMs = safety?.last_success_at_ms ?? null;
  const proven = safety?.newest_good ?? null;
  const took =
    restored?.status === 'completed' && restored.started_at_ms !== null && restored.finished_at_ms !== null
      ? restored.finished_at_ms - restored.started_at_ms
      : undefined;
  return (
    <dl class="numbers">
      <Figure name="Last success" value={lastMs === null ? 'none yet' : ago(lastMs, nowMs)} atMs={lastMs} />
      <Figure
        name="Last proven"
        value={proven === null ? 'none' : `${ago(proven.verified_at_ms ?? proven.created_at_ms, nowMs)}`}
        atMs={proven === null ? null : (proven.verified_at_ms ?? proven.created_at_ms)}
      />
      <Figure name="Next due" value="not planned by this server" atMs={null} />
      <Figure
        name="Recoverable window"
        value={
          window === undefined
            ? 'nothing'
            : window.fromMs === window.toMs
              ? `one moment, ${ago(window.toMs, nowMs)}`
              : `${span(window.toMs - window.fromMs)}, up to ${ago(window.toMs, nowMs)}`
        }
        atMs={window?.fromMs ?? null}
      />
      <Figure
        name="Time to restore"
        value={took === undefined ? 'not measured yet' : span(took)}
        atMs={took === undefined ? null : (restored?.finished_at_ms ?? null)}
      />
    </dl>
  );
}

function Figure({ name, value, atMs }: { name: string; value: string; atMs: number | null }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd title={atMs === null ? undefined : time(atMs)}>{value}</dd>
    </div>
  );
}

const reasonOf = ({ recovery_state }: Status): string =>
  recovery_state?.reason == null ? '' : `: ${recovery_state.reason}`;
