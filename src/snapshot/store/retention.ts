import { LEVELS } from '../../options/choices.ts';
import { compareNames } from './layout.ts';
import { newestGood, type Standing } from './standing.ts';

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
 * newest of the deepest proof that is not known to be damaged, and each that the next one could not follow. One that cannot be looked at stays, and does not count. A damaged one does not count, and goes when it is older than
 * all that stay.
 */
export function decideRetention(
  { known, latest, ahead }: RetentionFacts,
  keep: number,
): (RetentionDecision & { readonly standing: Standing })[] {
  const good = known.filter(({ damage, refusal }) => damage === undefined && refusal === undefined);
  const counted = new Set(good.slice(-keep));
  const best = newestGood(known);
  const lastBefore = new Set([...ahead].map((name) => lastUndamaged(known, name)));
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
    if (ahead.has(snapshot.name) || lastBefore.has(one))
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

/** The last one that is not known to be damaged, of those up to and with `name`. */
function lastUndamaged(known: readonly Standing[], name: string): Standing | undefined {
  const at = known.findIndex(({ snapshot }) => snapshot.name === name);
  // One whose manifest is damaged has no number any more; its name tells where it stood.
  const isUpTo = ({ snapshot }: Standing, index: number) =>
    known[at]?.snapshot.sequence == null ? compareNames(snapshot.name, name) <= 0 : index <= at;
  return known.findLast(
    (one, index) => one.damage === undefined && one.refusal === undefined && isUpTo(one, index),
  );
}
