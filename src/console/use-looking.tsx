import type { ComponentChildren } from 'preact';
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { type Api, Refused } from './api.ts';
import { SignIn } from './sign-in.tsx';
import { span } from './text.ts';

export interface Looking<T> {
  /** What was seen last; undefined before the first answer. */
  readonly seen: T | undefined;
  /** Now, for all ages on the page: when that was, or later where no newer answer comes. */
  readonly nowMs: number;
  /** Why there is no newer answer. */
  readonly problem: string | undefined;
  /** How old that is, where no newer answer comes. */
  readonly oldMs: number | undefined;
  /** Stands in the place of the page while the server wants a key. */
  readonly signIn: ComponentChildren | undefined;
  /** Looks at once, as after an action. */
  readonly again: () => Promise<void>;
  readonly signOut: () => void;
}

/** Asks the server every few seconds, and for the key where it wants one. `ask` also says when to look again. */
export function useLooking<T>(api: Api, ask: () => Promise<readonly [seen: T, nextMs: number]>): Looking<T> {
  const [found, setFound] = useState<{ seen: T; atMs: number }>();
  const [problem, setProblem] = useState<string>();
  const [asksForKey, setAsksForKey] = useState<'first' | 'again'>();
  const [nowMs, setNowMs] = useState(Date.now());
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const asked = useRef(ask);
  asked.current = ask;

  const begun = useRef(0);
  const shown = useRef(0);

  const again = useCallback(async () => {
    clearTimeout(timer.current);
    const mine = ++begun.current;
    const beganMs = Date.now();
    const tellLate = () => {
      if (mine < shown.current) return;
      setNowMs(Date.now());
      setProblem(`nothing came for ${span(Date.now() - beganMs)}`);
    };
    const late = setInterval(tellLate, LATE_MS);
    let next = IDLE_MS;
    try {
      const [seen, nextMs] = await asked.current();
      if (mine < shown.current) return; // a later look has had its answer before
      shown.current = mine;
      next = nextMs;
      setFound({ seen, atMs: Date.now() });
      setProblem(undefined);
      setAsksForKey(undefined);
    } catch (error) {
      if (mine < shown.current) return;
      shown.current = mine;
      if (error instanceof Refused && error.code === 'UNAUTHORIZED') {
        setAsksForKey(api.isSignedIn ? 'again' : 'first');
        api.signOut();
        return;
      }
      setNowMs(Date.now());
      setProblem(error instanceof Error ? error.message : String(error));
    } finally {
      clearInterval(late);
    }
    clearTimeout(timer.current); // another look has ended meanwhile
    timer.current = setTimeout(again, next);
  }, [api]);

  useEffect(() => {
    again();
    return () => clearTimeout(timer.current);
  }, [again]);

  const isOld = problem !== undefined && found !== undefined;
  return {
    seen: found?.seen,
    nowMs: isOld ? nowMs : (found?.atMs ?? nowMs),
    problem,
    oldMs: isOld ? nowMs - found.atMs : undefined,
    again,
    signIn: asksForKey && (
      <SignIn
        isWrong={asksForKey === 'again'}
        onKey={(key) => {
          api.signIn(key);
          again();
        }}
      />
    ),
    signOut() {
      clearTimeout(timer.current);
      shown.current = ++begun.current; // an answer that is still on its way is not shown any more
      api.signOut();
      setFound(undefined);
      setAsksForKey('first');
    },
  };
}

export const IDLE_MS = 5000;
export const BUSY_MS = 1000;
/** A server that has not answered for so long may hang. */
const LATE_MS = 10_000;

/** What a page says before the first answer, and when answers stay away. */
export function NoAnswer({ looking: { seen, problem, oldMs } }: { looking: Looking<unknown> }) {
  if (seen === undefined)
    return <p role="status">{problem === undefined ? 'Asking the server …' : `No answer: ${problem}`}</p>;
  if (oldMs === undefined) return null;
  return (
    <p class="notice bad">
      <span role="alert">No answer from the server.</span> Why: {problem}. What stands here is {span(oldMs)}{' '}
      old.
    </p>
  );
}
