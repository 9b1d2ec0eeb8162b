import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { type Api, Refused, type Snapshots, type Status } from './api.ts';
import { Failures } from './failures.tsx';
import { Room } from './room.tsx';
import { Running } from './running.tsx';
import { Safety } from './safety.tsx';
import { SignIn } from './sign-in.tsx';
import { span } from './text.ts';
import { Timeline } from './timeline.tsx';

const IDLE_MS = 5000;
const BUSY_MS = 1000;

export interface Seen {
  readonly status: Status;
  readonly list: Snapshots;
  readonly atMs: number;
}

/** The page: it asks for everything every few seconds, and at once after an action. */
export function App({ api }: { api: Api }) {
  const [seen, setSeen] = useState<Seen>();
  const [problem, setProblem] = useState<string>();
  const [asksForKey, setAsksForKey] = useState<'first' | 'again'>();
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);

  const look = useCallback(async () => {
    clearTimeout(timer.current);
    let next = IDLE_MS;
    try {
      const [status, list] = await Promise.all([api.status(), api.snapshots()]);
      setSeen({ status, list, atMs: Date.now() });
      setProblem(undefined);
      setAsksForKey(undefined);
      if (isBusy(status)) next = BUSY_MS;
    } catch (error) {
      if (error instanceof Refused && error.code === 'UNAUTHORIZED') {
        setAsksForKey(api.isSignedIn ? 'again' : 'first');
        api.signOut();
        return;
      }
      setProblem(error instanceof Error ? error.message : String(error));
    }
    timer.current = setTimeout(look, next);
  }, [api]);

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
  const { status, list } = seen;
  return (
    <>
      <header>
        <h1>Stillpoint</h1>
        <p>
          {status.engine} · {status.mode.replace('_', ' ')} · up {span(status.uptime_secs * 1000)} · version{' '}
          {status.version}
        </p>
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
        <Safety status={status} list={list} nowMs={seen.atMs} />
        <Running api={api} status={status} look={look} />
        <Timeline api={api} list={list} status={status} nowMs={seen.atMs} look={look} />
        <Room list={list} safety={status.safety} nowMs={seen.atMs} />
        <Failures status={status} nowMs={seen.atMs} />
      </main>
    </>
  );
}

const isRunning = (state: Status['backup_state']): boolean =>
  state?.status === 'running' || state?.status === 'queued';

export const isBusy = ({ backup_state, restore_state }: Status): boolean =>
  isRunning(backup_state) || isRunning(restore_state);
