import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type { Api, Repository } from './api.ts';
import { textOf } from './text.ts';

export interface Reading {
  /** As it was read last; undefined before the first time. */
  readonly repository: Repository | undefined;
  /** When that was. */
  readonly atMs: number;
  /** Since when it is being read; undefined while it is not. */
  readonly sinceMs: number | undefined;
  /** Why it could not be read the last time. */
  readonly problem: string | undefined;
}

/** To read a repository may cost money and time. */
const AGAIN_MS = 10 * 60_000;
const UNREAD: Reading = { repository: undefined, atMs: 0, sinceMs: undefined, problem: undefined };

/**
 * Reads the repository at first, after each errand, on request, when it could not be read, and when that was long ago.
 *
 * @param ended When the last errand ended, null for none; undefined while that is not known.
 * @param nowMs When the server was asked last.
 */
export function useRepository(
  api: Api,
  ended: number | null | undefined,
  nowMs: number,
): Reading & { readonly read: () => void } {
  const [reading, setReading] = useState(UNREAD);
  const begun = useRef(0);
  const read = useCallback(() => {
    const mine = ++begun.current;
    const told = (change: Partial<Reading>) => {
      if (begun.current === mine) setReading((before) => ({ ...before, sinceMs: undefined, ...change }));
    };
    told({ sinceMs: Date.now() });
    api.repository().then(
      (repository) => told({ repository, atMs: Date.now(), problem: undefined }),
      (error) => told({ problem: textOf(error) }),
    );
  }, [api]);
  useEffect(() => {
    if (ended !== undefined) read();
  }, [ended, read]);
  const { sinceMs, problem, atMs } = reading;
  useEffect(() => {
    const isDue = problem !== undefined || (atMs !== 0 && nowMs - atMs > AGAIN_MS);
    if (sinceMs === undefined && isDue) read();
  }, [nowMs]);
  return { ...reading, read };
}
