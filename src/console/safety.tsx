import type { Snapshots, Status } from './api.ts';
import { recoverableWindow } from './history.ts';
import {
  lastSuccess,
  lastVerified,
  nextDue,
  notCounted,
  type Offsite,
  overdue,
  tookMs,
  wholeAt,
} from './offsite.ts';
import { Prose } from './prose.tsx';
import { ago, ahead, span, time, timeRange } from './text.ts';
import { Verdict } from './verdict.tsx';

interface Props {
  readonly status: Status;
  readonly list: Snapshots;
  readonly offsite: Offsite | undefined;
  readonly nowMs: number;
  readonly oldMs: number | undefined;
}

/** Am I safe? One sentence, what else should be known, and the five numbers. */
export function Safety(props: Props) {
  const { status, offsite, nowMs, oldMs } = props;
  const { safety } = status;
  const late = offsite === undefined ? [] : overdue(offsite);
  const isSafe = safety?.safe === true && status.overall_status === 'ok' && late.length === 0;
  const look = !isSafe ? 'unsafe' : safety.notes.length > 0 ? 'warned' : 'safe';
  const { sentence, more } = told(status, late, nowMs);
  return (
    <Verdict id="safe" question="Am I safe?" look={look} sentence={sentence} oldMs={oldMs}>
      {more.length > 0 && (
        <ul>
          {more.map((clause) => (
            <li key={clause}>
              <Prose text={clause} />
            </li>
          ))}
        </ul>
      )}
      <Numbers {...props} />
    </Verdict>
  );
}

/** The verdict with what matters most, and all else in the order of its weight. Nothing is in both. */
function told(
  { safety, overall_status, mode, recovery_state, database_failure: failure }: Status,
  late: readonly string[],
  nowMs: number,
): { readonly sentence: string; readonly more: readonly string[] } {
  if (safety === null) return { sentence: 'Not known: the snapshots cannot be looked at.', more: late };
  const { problems, notes, newest_good: good } = safety;
  const proven =
    good === null
      ? []
      : [`${good.name}, taken ${ago(good.created_at_ms, nowMs)}, is proven at level "${good.level}"`];
  const failed = failure === null ? [] : [`${failure.message}. ${failure.hint}`];
  const [problem, ...otherProblems] = problems;
  if (problem !== undefined) {
    const more = [...failed, ...otherProblems, ...late, ...notes, ...proven];
    return { sentence: `Not safe: ${problem}.`, more };
  }
  if (failure !== null)
    return { sentence: `The snapshots are good, and ${failed[0]}`, more: [...late, ...notes] };
  if (overall_status !== 'ok') {
    const reason = recovery_state?.reason == null ? '' : `: ${recovery_state.reason}`;
    const sentence = `The snapshots are good, and the database is not well: mode ${mode.replace('_', ' ')}${reason}.`;
    return { sentence, more: [...late, ...notes] };
  }
  const [plan, ...otherPlans] = late;
  if (plan !== undefined)
    return {
      sentence: `The snapshots are good, and a plan is overdue. ${plan}`,
      more: [...otherPlans, ...notes],
    };
  const [note, ...otherNotes] = notes;
  const clauses = [...proven, ...(note === undefined ? [] : [note])];
  return { sentence: `Safe: ${clauses.join('; ')}.`, more: otherNotes };
}

function Numbers({ status, list, offsite, nowMs }: Props) {
  const { safety } = status;
  const window = recoverableWindow(list.snapshots);
  const successMs = safety?.last_success_at_ms ?? null;
  const proven = safety?.newest_good ?? null;
  const provenMs = proven === null ? null : (proven.verified_at_ms ?? proven.created_at_ms);
  const due = offsite && nextDue(offsite);
  const isLate = offsite !== undefined && overdue(offsite).length > 0;
  const restore = measured(status, offsite);
  const isAway = offsite?.stored.some(({ problem }) => problem !== undefined) ?? false;
  /** What was not found may be in what cannot be read. */
  const inRepository = (text: string, isKnown: boolean, leftOut = '') =>
    `in a repository: ${isKnown || !isAway ? `${text}${leftOut}` : 'not known: it cannot be read'}`;
  const storedMs = offsite ? lastSuccess(offsite, 'backup') : null;
  const verifiedMs = offsite ? lastVerified(offsite) : null;
  const storedWindow = offsite && windowOf(wholeAt(offsite));
  const since = (ms: number | null) => (ms === null ? 'none yet' : ago(ms, nowMs));
  return (
    <dl class="numbers">
      <Figure
        name="Last success"
        value={since(successMs)}
        atMs={successMs}
        more={offsite && inRepository(since(storedMs), storedMs !== null)}
      />
      <Figure
        name="Last proven"
        value={provenMs === null ? 'none' : ago(provenMs, nowMs)}
        atMs={provenMs}
        more={
          offsite && inRepository(since(verifiedMs), verifiedMs !== null, notCounted(offsite, 'repositories'))
        }
      />
      <Figure
        name="Next due"
        value={
          due === undefined ? (offsite ? 'nothing' : 'not planned by this server') : ahead(due.atMs, nowMs)
        }
        atMs={due?.atMs ?? null}
        more={due && `${due.action}, plan ${due.plan}${isLate ? '' : '; none is overdue'}`}
      />
      <Figure
        name="Recoverable window"
        value={windowText(window, nowMs)}
        atMs={window?.fromMs ?? null}
        more={
          offsite &&
          inRepository(
            windowText(storedWindow, nowMs),
            storedWindow !== undefined,
            notCounted(offsite, 'backups'),
          )
        }
      />
      <Figure
        name="Time to restore"
        value={restore === undefined ? 'not measured yet' : span(restore.tookMs)}
        atMs={restore?.atMs ?? null}
        more={restore && `by ${restore.by}, ${ago(restore.atMs, nowMs)}`}
      />
    </dl>
  );
}

interface Window {
  readonly fromMs: number;
  readonly toMs: number;
}

const windowOf = (times: readonly number[]): Window | undefined =>
  times.length === 0 ? undefined : { fromMs: Math.min(...times), toMs: Math.max(...times) };

function windowText(window: Window | undefined, nowMs: number): string {
  if (window === undefined) return 'nothing';
  const { fromMs, toMs } = window;
  return fromMs === toMs ? `one moment, ${ago(toMs, nowMs)}` : timeRange(fromMs, toMs);
}

/** The newest restore whose time was taken: one in place, or a drill. */
function measured(
  { safety }: Status,
  offsite: Offsite | undefined,
): { tookMs: number; atMs: number; by: string } | undefined {
  const found: { tookMs: number; atMs: number; by: string }[] = [];
  const drill = offsite?.drills[0];
  if (drill !== undefined && drill.finished_at_ms !== null)
    found.push({ tookMs: tookMs(drill), atMs: drill.finished_at_ms, by: 'a drill' });
  const restore = safety?.last_restore ?? null;
  if (restore !== null) found.push({ tookMs: restore.took_ms, atMs: restore.at_ms, by: 'a restore here' });
  return found.sort((a, b) => b.atMs - a.atMs)[0];
}

interface FigureProps {
  readonly name: string;
  readonly value: string;
  readonly atMs: number | null;
  readonly more?: string | undefined;
}

function Figure({ name, value, atMs, more }: FigureProps) {
  return (
    <div>
      <dt>{name}</dt>
      <dd title={atMs === null ? undefined : time(atMs)}>{value}</dd>
      {more !== undefined && <dd class="more">{more}</dd>}
    </div>
  );
}
