import { useEffect, useState } from 'preact/hooks';
import { textOf } from './text.ts';

interface DryRun<T> {
  /** What would be done with this many that stay; undefined until it is known. */
  readonly shown: { readonly keep: number; readonly pruned: T } | undefined;
  readonly problem: string | undefined;
}

/** Asks the server what would go if so many stay, and again when the number is another one. */
export function useDryRun<T>(
  keep: number,
  least: number,
  ask: (keep: number, isDryRun: true) => Promise<T>,
): DryRun<T> {
  const [shown, setShown] = useState<{ keep: number; pruned: T }>();
  const [problem, setProblem] = useState<string>();
  useEffect(() => {
    let isOver = false;
    setShown(undefined);
    setProblem(undefined);
    if (!Number.isInteger(keep) || keep < least) {
      setProblem(`How many stay is a whole number, at least ${least}.`);
      return;
    }
    ask(keep, true).then(
      (pruned) => isOver || setShown({ keep, pruned }),
      (error) => isOver || setProblem(textOf(error)),
    );
    return () => {
      isOver = true;
    };
  }, [ask, keep, least]);
  return { shown, problem };
}
