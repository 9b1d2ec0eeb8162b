import { engineByName } from '../engine/index.ts';
import type { Lineage } from '../operation/lineage.ts';
import type { Environment } from '../snapshot/environment.ts';
import { positionIn } from '../snapshot/store/setback.ts';
import type { ListedSnapshot } from '../snapshot/store/standing.ts';

/**
 * Where the database was brought back from, if the newest good snapshot may hold writes that it lacks. It holds none where it goes on
 * from the one that was brought back, and its last write has the same number.
 *
 * @param leftBehind Snapshots after which the database went back.
 */
export async function putBackFrom(
  { fs }: Environment,
  { putBackFrom: from }: Lineage,
  snapshots: readonly ListedSnapshot[],
  leftBehind: ReadonlySet<string>,
): Promise<string | undefined> {
  const good = snapshots.filter(({ state, sequence }) => state === 'good' && sequence !== null);
  const newest = good.toSorted((a, b) => a.sequence! - b.sequence!).at(-1);
  const base = good.find(({ location }) => location === from);
  if (newest === undefined || base === undefined || base.engine !== newest.engine) return from;
  if (newest === base) return undefined;
  const wentBack = snapshots.some(
    ({ name, sequence }) =>
      leftBehind.has(name) && name !== newest.name && (sequence === null || sequence >= base.sequence!),
  );
  const engine = engineByName(newest.engine ?? '');
  if (wentBack || engine?.history === undefined) return from;
  const [now, reached] = [
    await positionIn(fs, engine, base.location),
    await positionIn(fs, engine, newest.location),
  ];
  if (now === undefined || reached === undefined) return from;
  return engine.history.setbackOf(now, reached) === undefined ? undefined : from;
}
