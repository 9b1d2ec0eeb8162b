import type { ListedSnapshot } from '../snapshot/store/standing.ts';

/** `good`, `good (level open)`, `damaged: a.txt is damaged`, `unread`, `unproven`. */
export function stateText({ state, level, damage }: ListedSnapshot): string {
  if (state === 'good' && level !== null && level !== 'full') return `good (level ${level})`;
  return damage === null ? state : `${state}: ${damage}`;
}
