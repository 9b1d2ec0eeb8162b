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

/**
 * What a reading of all of a backup came to:
 *
 * - `data`: its objects hold what was uploaded.
 * - `full`: and its content was proven.
 * - `unread`: nothing is wrong with its content as far as it could be read.
 * - `damaged`: its objects hold what was uploaded, and its content does not hold.
 */
const READINGS = ['data', 'full', 'unread', 'damaged'] as const;
type Reading = (typeof READINGS)[number];

/** What the readings of a backup say together. */
export interface Verified {
  /** When it was last read and found whole; null: never. */
  readonly atMs: number | null;
  /** Whether its content was proven in full. */
  readonly isProven: boolean;
  /** Whether its content could not be read in full, by whoever tried last. */
  readonly isUnread: boolean;
  /** Whether its content was found damaged, and not proven in full since. */
  readonly isDamaged: boolean;
}

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

/** Puts on record what a reading of all of a backup came to. */
export async function recordReading(
  { destination, environment, storeId }: StoreBackups,
  backupId: string,
  reading: Reading,
): Promise<void> {
  const key = verifiedKey(storeId, backupId, reading, environment.clock.nowMs());
  await destination.put(key, bodyOf(Buffer.from('\n')), { ifAbsent: true });
}

/** By backup, those that were ever read. Its last reading of the content counts; of two at one time, the damage. */
export async function readVerified({ destination, storeId }: StoreBackups): Promise<Map<string, Verified>> {
  const last = new Map<string, Partial<Record<Reading, number>>>();
  for await (const { key } of destination.list(verifiedPrefix(storeId))) {
    const found = verifiedOf(storeId, key);
    const reading = READINGS.find((one) => one === found?.level);
    if (found === undefined || reading === undefined) continue;
    const times = last.get(found.backupId) ?? {};
    times[reading] = Math.max(found.atMs, times[reading] ?? 0);
    last.set(found.backupId, times);
  }
  return new Map(
    [...last].map(([backupId, { data = -1, full = -1, unread = -1, damaged = -1 }]) => {
      const atMs = Math.max(data, full);
      const isDamaged = damaged >= 0 && damaged >= full;
      return [
        backupId,
        {
          atMs: atMs < 0 ? null : atMs,
          isProven: full >= 0 && !isDamaged,
          isUnread: unread > full,
          isDamaged,
        },
      ];
    }),
  );
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
