import { RunControl } from '../env/run-control.ts';
import { warn } from '../env/safe-calls.ts';
import { StillpointError } from '../errors.ts';
import { objectsOf } from '../repository/backup-manifest.ts';
import { readDamaged } from '../repository/damaged-objects.ts';
import { readPins, readVerified } from '../repository/marks.ts';
import { unfinishedRemovals } from '../repository/remove-backup.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import { confirmPublished } from '../repository/upload.ts';
import { levelOf } from './list-backups.ts';
import { bestBackup, newestGood, type RetainedBackup } from './retention.ts';

export interface StandingBackups {
  /** What a rule decides over. */
  readonly standing: readonly RetainedBackup[];
  /** Whose removal was begun, is not at its end, and is to be brought there. */
  readonly unfinished: readonly string[];
  /** Whose removal was begun, and which stay: without them no backup is good. The mark of the removal has to be taken back. */
  readonly needed: readonly string[];
}

/** What stands in a store. A removal may have been begun when another backup was good that is not any more. */
export async function standingBackups(
  store: StoreBackups,
  control = new RunControl(),
): Promise<StandingBackups> {
  const begun = new Set(await unfinishedRemovals(store));
  const backups = await knownBackups(store, control);
  const isGoing = ({ backupId, pins }: RetainedBackup) => pins.length === 0 && begun.has(backupId);
  const going = backups.filter(isGoing).map(({ backupId }) => backupId);
  const standing = await withWholeBest(
    store,
    backups.filter((one) => !isGoing(one)),
    control,
  );
  if (newestGood(standing) !== undefined) return { standing, unfinished: going, needed: [] };
  return { standing: await withWholeBest(store, backups, control), unfinished: [], needed: going };
}

/**
 * The newest good backup and the best are those that others are removed for, so their objects are asked for first. A writer may have
 * published one and not confirmed it yet, and still withdraw it.
 */
async function withWholeBest(
  store: StoreBackups,
  backups: readonly RetainedBackup[],
  control: RunControl,
): Promise<readonly RetainedBackup[]> {
  for (const one of new Set([newestGood(backups), bestBackup(backups)])) {
    if (one === undefined || (await isWhole(store, one.backupId, control))) continue;
    const others = backups.map(
      (other): RetainedBackup => (other === one ? { ...one, state: 'damaged' } : other),
    );
    return withWholeBest(store, others, control);
  }
  return backups;
}

async function isWhole(store: StoreBackups, backupId: string, control: RunControl): Promise<boolean> {
  try {
    const manifest = await store.read(backupId);
    if (manifest === undefined) return false;
    await confirmPublished(store, manifest, control);
    return true;
  } catch (error) {
    if (!(error instanceof StillpointError) || error.code !== 'BACKUP_DAMAGED') throw error;
    warn(error);
    return false;
  }
}

/** The backups of a store, with what is known of each. */
export async function knownBackups(
  store: StoreBackups,
  control = new RunControl(),
): Promise<RetainedBackup[]> {
  const pins = await readPins(store);
  const verified = await readVerified(store);
  const damaged = await readDamaged(store);
  const backups: Omit<RetainedBackup, 'isLeftBehind'>[] = [];
  const leftBehind = new Set<string>();
  for (const backupId of await store.ids()) {
    control.checkCancelled();
    const read = verified.get(backupId);
    const about = { backupId, pins: pins.get(backupId) ?? [], verifiedAtMs: read?.atMs ?? null };
    try {
      const manifest = await store.read(backupId);
      if (manifest === undefined) continue; // removed since it was listed
      const foundMs = [...objectsOf(manifest).keys()].flatMap((key) => damaged.get(key) ?? []);
      const isDamaged = read?.isDamaged === true || foundMs.length > 0;
      const isReadSince = read?.isDamaged !== true && (read?.atMs ?? 0) > Math.max(...foundMs);
      const { createdAtMs } = manifest;
      const level = levelOf(manifest, read);
      for (const id of manifest.leftBehind) leftBehind.add(id);
      const state = isDamaged ? 'damaged' : 'good';
      backups.push({ ...about, createdAtMs, level, state, isReadSince: isDamaged && isReadSince });
    } catch (error) {
      if (!(error instanceof StillpointError) || error.code !== 'BACKUP_DAMAGED') throw error;
      backups.push({ ...about, createdAtMs: 0, level: null, state: 'unreadable', isReadSince: false });
    }
  }
  return backups.map((backup) => ({ ...backup, isLeftBehind: leftBehind.has(backup.backupId) }));
}
