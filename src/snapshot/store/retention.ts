import { LEVELS } from '../../options/choices.ts';
import type { Standing } from './known-snapshot.ts';
import { compareNames } from './layout.ts';
import { newestGood } from './standing.ts';

/** Why a snapshot stays or goes when others are removed. */
export interface RetentionDecision {
  readonly name: string;
  readonly stays: boolean;
  readonly reason: string;
}

/** What the decision needs to know. */
export interface RetentionFacts {
  /** In the order in which they were taken. */
  readonly known: readonly Standing[];
  readonly latest: string | undefined;
  /** Names of snapshots after which the database went back, or was begun anew. */
  readonly ahead: ReadonlySet<string>;
}

/**
 * Which snapshots stay when all but the newest `keep` good ones are to be removed. The one that `latest` names stays, and so does the
 * newest of the deepest proof that is not known to be damaged. Each that the next one could not follow stays, and of those up to it the
 * last undamaged one and the newest of the deepest proof. One that cannot be looked at stays, and does not count. A damaged one does not
 * count, and goes when it is older than all that stay.
 */
export function decideRetention(
  { known, latest, ahead }: RetentionFacts,
  keep: number,
): (RetentionDecision & { readonly standing: Standing })[] {
  const good = known.filter(isUsable);
  const counted = new Set(good.slice(-keep));
  const best = newestGood(known);
  const before = [...ahead].map((name) => upTo(known, name));
  const heldBefore = new Set(before.flatMap((some) => [some.findLast(isUsable), newestGood(some)]));
  const oldestCounted = known.findIndex((one) => counted.has(one));
  return known.map((one, index) => {
    const { snapshot, damage, refusal, depth } = one;
    const decide = (stays: boolean, reason: string) => ({
      standing: one,
      name: snapshot.name,
      stays,
      reason,
    });
    if (refusal !== undefined) return decide(true, `nobody knows what it is: ${refusal}`);
    if (counted.has(one)) return decide(true, `one of the newest ${keep}`);
    if (one === best) return decide(true, `the newest proven at level ${LEVELS[depth] ?? 'unknown'}`);
    if (ahead.has(snapshot.name) || heldBefore.has(one))
      return decide(true, 'it may hold writes that no newer one has: the database went back since');
    const damaged = damage === undefined ? '' : `damaged (${damage})`;
    if (snapshot.name === latest)
      return decide(true, damaged === '' ? 'latest names it' : `${damaged}, but latest names it`);
    if (damaged === '') return decide(false, `not one of the newest ${keep}`);
    if (oldestCounted === -1) return decide(true, `${damaged}, but none is known to be better`);
    if (index < oldestCounted) return decide(false, `${damaged}, and a good one is newer`);
    return decide(true, `${damaged}, but newer than a good one that stays`);
  });
}

const isUsable = ({ damage, refusal }: Standing): boolean => damage === undefined && refusal === undefined;

/** The snapshots up to and with `name`. */
function upTo(known: readonly Standing[], name: string): readonly Standing[] {
  const at = known.findIndex(({ snapshot }) => snapshot.name === name);
  // One whose manifest is damaged has no number any more; its name tells where it stood.
  const hasNumber = known[at]?.snapshot.sequence != null;
  return known.filter(({ snapshot }, index) =>
    hasNumber ? index <= at : compareNames(snapshot.name, name) <= 0,
  );
}
