import type { RunRecord } from './records.ts';

/**
 * What restores in place put there since the last snapshot, by where it came from: the database may be of an older state now. Empty where
 * nothing was restored, or an undo took it back.
 *
 * @param runs Oldest first.
 */
export function restoredSince(runs: readonly RunRecord[]): readonly string[] {
  const completed = runs.filter(({ state }) => state.status === 'completed');
  const since = completed.slice(completed.findLastIndex(({ kind }) => kind === 'backup') + 1);
  const restores = since.filter(({ kind }) => kind === 'restore').map(({ location }) => location);
  const lastRestore = since.findLastIndex(({ kind }) => kind === 'restore');
  const undos = since.slice(lastRestore + 1).filter(({ kind }) => kind === 'undo').length;
  if (undos === 0) return restores.slice(-1);
  return restores.length === 1 && undos === 1 ? [] : restores; // which of several an undo brought back is not on record
}
