import { bodyOf } from '../destination/destination.ts';
import { StillpointError } from '../errors.ts';
import {
  type MarkKind,
  markedBackupOf,
  markKey,
  marksPrefix,
  verifiedKey,
  verifiedOf,
  verifiedPrefix,
} from './layout.ts';
import type { StoreBackups } from './store-backups.ts';

/** What is known of backups beside their manifests. The key of a mark says all; its content is for people who look at it. */

/** When a backup was last read and found whole. */
export interface Verified {
  readonly atMs: number;
  readonly level: 'data' | 'full';
}

const LEVELS: readonly string[] = ['data', 'full'] satisfies Verified['level'][];

/** The ids of the backups with this mark. */
export async function readMarks(
  { destination, storeId }: StoreBackups,
  kind: MarkKind,
): Promise<Set<string>> {
  const ids = new Set<string>();
  for await (const { key } of destination.list(marksPrefix(kind, storeId))) {
    const id = markedBackupOf(kind, storeId, key);
    if (id !== undefined) ids.add(id);
  }
  return ids;
}

export const isMarked = async ({ destination, storeId }: StoreBackups, kind: MarkKind, backupId: string) =>
  (await destination.head(markKey(kind, storeId, backupId))) !== undefined;

export async function putMark(store: StoreBackups, kind: MarkKind, backupId: string): Promise<void> {
  const { destination, environment, storeId } = store;
  const content = { backup_id: backupId, [`${kind}_at_ms`]: environment.clock.nowMs() };
  const body = bodyOf(Buffer.from(`${JSON.stringify(content)}\n`));
  await destination.put(markKey(kind, storeId, backupId), body, {
    ifAbsent: true,
    makesRoom: kind === 'deleted',
  });
}

export const removeMark = ({ destination, storeId }: StoreBackups, kind: MarkKind, backupId: string) =>
  destination.delete([markKey(kind, storeId, backupId)]);

/**
 * From now on no retention removes the backup. `NOT_FOUND` when there is none. Pins and deletions each write their mark before they
 * look for the other's, so that not both go on.
 */
export async function pin(store: StoreBackups, backupId: string): Promise<void> {
  const wasPinned = await isMarked(store, 'pinned', backupId);
  await putMark(store, 'pinned', backupId);
  if (!(await isMarked(store, 'deleted', backupId)) && (await store.has(backupId))) return;
  if (!wasPinned) await removeMark(store, 'pinned', backupId);
  throw new StillpointError('NOT_FOUND', `the backup ${backupId} is deleted, or is about to be`);
}

/** Puts on record that all of a backup was read and found whole. */
export async function recordVerified(
  { destination, environment, storeId }: StoreBackups,
  backupId: string,
  level: Verified['level'],
): Promise<void> {
  const key = verifiedKey(storeId, backupId, level, environment.clock.nowMs());
  await destination.put(key, bodyOf(Buffer.from('\n')), { ifAbsent: true });
}

/** By backup: the last time that it was read and whole. */
export async function readVerified({ destination, storeId }: StoreBackups): Promise<Map<string, Verified>> {
  const last = new Map<string, Verified>();
  for await (const { key } of destination.list(verifiedPrefix(storeId))) {
    const found = verifiedOf(storeId, key);
    if (found === undefined || !LEVELS.includes(found.level)) continue;
    if (found.atMs <= (last.get(found.backupId)?.atMs ?? -1)) continue;
    last.set(found.backupId, { atMs: found.atMs, level: found.level as Verified['level'] });
  }
  return last;
}

/** Of a backup that is gone. */
export async function forgetVerified(
  { destination, storeId }: StoreBackups,
  backupId: string,
): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of destination.list(`${verifiedPrefix(storeId)}${backupId}/`)) keys.push(key);
  await destination.delete(keys);
}
