import type { Environment } from '../environment.ts';
import type { Layout } from './layout.ts';
import { pinnedSnapshots } from './snapshot-pins.ts';
import type { ListedSnapshot, SnapshotStates } from './standing.ts';

/** What keeps a snapshot from being deleted. */
export interface DeleteRefusal {
  readonly why: string;
  readonly hint: string;
}

/** Which snapshots are needed. */
interface Needed extends Pick<SnapshotStates, 'latestGood'> {
  /** The name in the `latest` marker. */
  readonly latest: string | null;
  readonly pinned: ReadonlySet<string>;
}

/** Why `delete` refuses a snapshot; undefined where it does not, unless somebody reads the snapshot at that moment. */
export function deleteRefusal(
  name: string,
  { latest, latestGood, pinned }: Needed,
): DeleteRefusal | undefined {
  if (name === latestGood)
    return {
      why: `${name} is the newest proven snapshot and stays`,
      hint: 'Take another snapshot first, proven at the same level or a deeper one.',
    };
  if (name === latest)
    return {
      why: `\`latest\` names ${name}, so it stays`,
      hint: 'Take another snapshot first: `latest` names that one then.',
    };
  if (pinned.has(name))
    return {
      why: `${name} is pinned: somebody is about to fetch it`,
      hint: 'Wait until that is done; a pin ends by itself.',
    };
  return undefined;
}

/** A snapshot of a list, where it is known what else is there. */
export interface DeletableSnapshot extends ListedSnapshot {
  /** Why `delete` would refuse it; null when it would not. One that somebody reads at that moment is refused, too. */
  readonly deleteRefused: string | null;
}

/** The snapshots of a list, each with what would keep it from being deleted. */
export async function withDeleteRefusals(
  env: Environment,
  layout: Layout,
  { snapshots, ...marked }: Pick<SnapshotStates, 'latestGood' | 'snapshots'> & Pick<Needed, 'latest'>,
): Promise<DeletableSnapshot[]> {
  const pinned = await pinnedSnapshots(env, layout);
  return snapshots.map((snapshot) => {
    const refusal = deleteRefusal(snapshot.name, { ...marked, pinned });
    return { ...snapshot, deleteRefused: refusal === undefined ? null : `${refusal.why}. ${refusal.hint}` };
  });
}
