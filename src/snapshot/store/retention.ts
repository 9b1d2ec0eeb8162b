import { RunControl } from '../../env/run-control.ts';
import { StillpointError } from '../../errors.ts';
import { LEVELS } from '../../options/choices.ts';
import type { Environment } from '../environment.ts';
import { readLedger } from '../ledger/ledger-file.ts';
import { isProofOf } from '../ledger/proven-files.ts';
import { compareTree } from '../verify/compare-tree.ts';
import type { Layout } from './layout.ts';
import { latestName, listSnapshotFolders, type SnapshotSummary } from './list.ts';
import { readManifest } from './manifest-file.ts';

/** What is known of a snapshot without reading its files. */
export interface Standing {
  readonly snapshot: SnapshotSummary;
  /** Why it is known to be damaged; undefined when nothing says so. */
  readonly damage: string | undefined;
  /** How deep its proof went, as an index into `LEVELS`; -1 when nobody knows. */
  readonly depth: number;
}

/** Why a snapshot stays or goes when others are removed. */
export interface RetentionDecision {
  readonly name: string;
  readonly stays: boolean;
  readonly reason: string;
}

/** The snapshots of a data directory with what is known of them, in the order in which they were taken. */
export async function standings(env: Environment, layout: Layout): Promise<Standing[]> {
  const all = await listSnapshotFolders(env, layout);
  // By sequence: a clock that was set back gives later ones smaller names.
  all.sort((a, b) => (a.sequence ?? -1) - (b.sequence ?? -1));
  const found: Standing[] = [];
  for (const snapshot of all) found.push(await standingOf(env, snapshot));
  return found;
}

async function standingOf(env: Environment, snapshot: SnapshotSummary): Promise<Standing> {
  const { location, problem } = snapshot;
  if (problem !== null) return { snapshot, damage: problem, depth: -1 };
  const manifest = await readManifest(env, location).catch((error) => {
    if (error instanceof StillpointError) return undefined; // since it was listed
    throw error;
  });
  if (manifest === undefined) return { snapshot, damage: 'the manifest cannot be read', depth: -1 };
  const { proofs, damaged } = await readLedger(env.fs, location);
  const { findings } = await compareTree(env.fs, location, manifest.entries, new RunControl());
  // A file that was read and had another checksum has a proof of what it is now.
  const differs = manifest.entries.filter(
    (entry) => proofs.has(entry.path) && !isProofOf(proofs.get(entry.path), entry),
  );
  const [wrong] = [...findings, ...differs, ...[...damaged.keys()].map((path) => ({ path }))];
  const damage = manifest.rewritten ? 'the manifest was changed' : wrong && `${wrong.path} is damaged`;

  const recorded = manifest.entries.map((entry) => {
    const proof = proofs.get(entry.path);
    return isProofOf(proof, entry) ? proof : undefined;
  });
  const depths = recorded.map((proof) => (proof === undefined ? -1 : LEVELS.indexOf(proof.level)));
  const published = manifest.snapshot?.level === undefined ? -1 : LEVELS.indexOf(manifest.snapshot.level);
  // What could not be read is not proven any deeper than the checksums of its files.
  const isUnread = recorded.some((proof) => proof?.warnings?.some(({ verdict }) => verdict === 'unread'));
  const depth = isUnread ? 0 : Math.max(published, Math.min(...depths));
  return { snapshot, damage, depth };
}

/** The newest snapshot of the deepest proof that is not known to be damaged. */
export function newestGood(known: readonly Standing[]): Standing | undefined {
  const good = known.filter(({ damage }) => damage === undefined);
  const deepest = Math.max(...good.map(({ depth }) => depth));
  return good.findLast(({ depth }) => depth === deepest);
}

/**
 * Which snapshots stay when all but the newest `keep` good ones are to be removed. The one that `latest` names stays, and so does the
 * newest of the deepest proof that is not known to be damaged. A damaged one does not count, and goes when it is older than
 * all that stay.
 */
export async function decideRetention(
  env: Environment,
  layout: Layout,
  keep: number,
): Promise<(RetentionDecision & { readonly snapshot: SnapshotSummary })[]> {
  const known = await standings(env, layout);
  const latest = await latestName(env.fs, layout.backup);
  const good = known.filter(({ damage }) => damage === undefined);
  const counted = new Set(good.slice(-keep));
  const best = newestGood(known);
  const oldestCounted = known.findIndex((one) => counted.has(one));
  return known.map((one, index) => {
    const { snapshot, damage, depth } = one;
    const decide = (stays: boolean, reason: string) => ({ snapshot, name: snapshot.name, stays, reason });
    if (counted.has(one)) return decide(true, `one of the newest ${keep}`);
    if (one === best) return decide(true, `the newest proven at level ${LEVELS[depth] ?? 'unknown'}`);
    if (snapshot.name === latest) return decide(true, 'latest names it');
    if (damage === undefined) return decide(false, `not one of the newest ${keep}`);
    const isOlder = oldestCounted === -1 ? false : index < oldestCounted;
    return decide(!isOlder, damage);
  });
}
