import { LEVELS } from '../options/choices.ts';
import type { ListedSnapshot } from '../snapshot/store/standing.ts';

/** As `stateText`, where the level stands beside it: what is proven less deeply than the best of them says so. */
export function stateCell(snapshot: ListedSnapshot, best: ListedSnapshot | undefined): string {
  const { state, level } = snapshot;
  if (state !== 'good' || level === null) return stateText(snapshot);
  const isLesser = LEVELS.indexOf(level) < LEVELS.indexOf(best?.level ?? level);
  return isLesser ? 'lesser proof' : 'good';
}

/** `good`, `good (level open)`, `damaged: a.txt is damaged`, `unread`, `unproven`. */
export function stateText({ state, level, damage }: ListedSnapshot): string {
  if (state === 'good' && level !== null && level !== 'full') return `good (level ${level})`;
  return damage === null ? state : `${state}: ${damage}`;
}
