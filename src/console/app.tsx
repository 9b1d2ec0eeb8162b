import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { type Api, Refused, type Run, type Snapshots, type Status } from './api.ts';
import { Charts } from './charts.tsx';
import { Failures } from './failures.tsx';
import { lookOffsite, type Offsite, runningJobs } from './offsite.ts';
import { Plans } from './plans.tsx';
import { Room } from './room.tsx';
import { Running } from './running.tsx';
import { Safety } from './safety.tsx';
import { SignIn } from './sign-in.tsx';
import { span } from './text.ts';
import { Timeline } from './timeline.tsx';
import { Upkeep } from './upkeep.tsx';

const IDLE_MS = 5000;
const BUSY_MS = 1000;
const RUNS = 100;

export interface Seen {
  readonly status: Status;
  readonly list: Snapshots;
  /** Newest first. */
  readonly runs: readonly Run[];
  /** Undefined for a server without plans. */
  readonly offsite: Offsite | undefined;
  readonly atMs: number;
}

/**
 * The page of one data directory: it asks for everything every few seconds, and at once after an action.
 *
 * @param isOpenHere Whether the server has the database open.
 */
export function App({ api, isOpenHere }: { api: Api; isOpenHere: boolean }) {
  const [seen, setSeen] = useState<Seen>();
  const [problem, setProblem] = useState<string>();
  const [asksForKey, setAsksForKey] = useState<'first' | 'again'>();
  const known = useRef<Offsite>(undefined);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);

  const look = useCallback(async () => {
    clearTimeout(timer.current);
    let next = IDLE_MS;
    try {
      if (!isOpenHere) api.dataDir ??= (await api.folders())[0]?.data_dir;
      const [status, list, runs, offsite] = await Promise.all([
        api.status(),
        api.snapshots(),
        api.runs(RUNS),
        lookOffsite(api, known.current),
      ]);
      known.current = offsite;
      setSeen({ status, list, runs, offsite, atMs: Date.now() });
      setProblem(undefined);
      setAsksForKey(undefined);
      if (isBusy(status) || (offsite && runningJobs(offsite).length > 0)) next = BUSY_MS;
    } catch (error) {
      if (error instanceof Refused && error.code === 'UNAUTHORIZED') {
        setAsksForKey(api.isSignedIn ? 'again' : 'first');
        api.signOut();
        return;
      }
      setProblem(error instanceof Error ? error.message : String(error));
    }
    timer.current = setTimeout(look, next);
  }, [api, isOpenHere]);

  useEffect(() => {
    look();
    return () => clearTimeout(timer.current);
  }, [look]);

  if (asksForKey !== undefined) {
    return (
      <SignIn
        isWrong={asksForKey === 'again'}
        onKey={(key) => {
          api.signIn(key);
          look();
        }}
      />
    );
  }
  if (seen === undefined) {
    return (
      <main>
        <p role="status">{problem === undefined ? 'Asking the server …' : `No answer: ${problem}`}</p>
      </main>
    );
  }
  const { status, list, runs, offsite } = seen;
  return (
    <>
      <header>
        <h1>Stillpoint</h1>
        {isOpenHere ? (
          <p>
            {status.engine} · {status.mode.replace('_', ' ')} · up {span(status.uptime_secs * 1000)} · version{' '}
            {status.version}
          </p>
        ) : (
          <p>
            {api.dataDir} · {status.engine} · not open here · version {status.version}
          </p>
        )}
        {location.pathname.includes('/folder/') && <a href="../../">All folders</a>}
        {api.isSignedIn && (
          <button
            type="button"
            onClick={() => {
              api.signOut();
              setSeen(undefined);
              setAsksForKey('first');
            }}
          >
            Sign out
          </button>
        )}
      </header>
      <main>
        {problem !== undefined && (
          <p class="notice bad" role="alert">
            No answer from the server: {problem}. What stands here is {span(Date.now() - seen.atMs)} old.
          </p>
        )}
        <Safety {...seen} nowMs={seen.atMs} />
        <Running api={api} status={status} offsite={offsite} look={look} />
        <Timeline api={api} list={list} status={status} offsite={offsite} nowMs={seen.atMs} look={look} />
        {offsite !== undefined && <Plans api={api} offsite={offsite} nowMs={seen.atMs} look={look} />}
        <Charts list={list} runs={runs} offsite={offsite} />
        <Room list={list} safety={status.safety} nowMs={seen.atMs} />
        <Upkeep runs={runs} nowMs={seen.atMs} />
        <Failures status={status} runs={runs} offsite={offsite} nowMs={seen.atMs} />
      </main>
    </>
  );
}

const isRunning = (state: Status['backup_state']): boolean =>
  state?.status === 'running' || state?.status === 'queued';

export const isBusy = ({ backup_state, restore_state }: Status): boolean =>
  isRunning(backup_state) || isRunning(restore_state);
