import { useEffect, useState } from 'preact/hooks';
import { Refused } from './api.ts';
import { textOf } from './text.ts';

interface DryRun<T> {
  /** What would be done with this many that stay; undefined until it is known. */
  readonly shown: { readonly keep: number; readonly pruned: T } | undefined;
  readonly problem: string | undefined;
}

/** A run of the server that is under way ends some time. */
const BUSY_MS = 1000;

/** Asks the server what would go if so many stay, and again when the number is another one, or while the server is busy. */
export function useDryRun<T>(keep: number, least: number, ask: (keep: number) => Promise<T>): DryRun<T> {
  const [shown, setShown] = useState<{ keep: number; pruned: T }>();
  const [problem, setProblem] = useState<string>();
  const isNumber = Number.isInteger(keep) && keep >= least;
  useEffect(() => {
    let isOver = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async () => {
      try {
        const pruned = await ask(keep);
        if (isOver) return;
        setShown({ keep, pruned });
        setProblem(undefined);
      } catch (error) {
        if (isOver) return;
        setProblem(textOf(error));
        if (error instanceof Refused && error.code === 'CONFLICT') timer = setTimeout(look, BUSY_MS);
      }
    };
    setShown(undefined);
    setProblem(undefined);
    if (isNumber) look();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [ask, isNumber ? keep : undefined, isNumber]);
  return isNumber
    ? { shown, problem }
    : { shown: undefined, problem: `How many stay is a whole number, at least ${least}.` };
}
