import { forgetVerified, pinsOn, putMark, readMarks, removeMark } from './marks.ts';
import type { StoreBackups } from './store-backups.ts';

/**
 * Deletes a backup: first a mark says so, then its manifest goes. Its objects stay until a sweep. False when it was pinned meanwhile;
 * then it stays.
 */
export async function removeBackup(store: StoreBackups, backupId: string): Promise<boolean> {
  await putMark(store, 'deleted', backupId);
  if ((await pinsOn(store, backupId)).length > 0) {
    await removeMark(store, 'deleted', backupId);
    return false;
  }
  await store.removeManifest(backupId);
  await forgetVerified(store, backupId);
  return true;
}

/** Deletes a backup that must not be: not even a pin keeps it. */
export async function withdraw(store: StoreBackups, backupId: string): Promise<void> {
  await putMark(store, 'deleted', backupId);
  await store.removeManifest(backupId);
}

/** Deletions that were begun and not brought to an end. */
export async function unfinishedRemovals(store: StoreBackups): Promise<string[]> {
  const deleted = await readMarks(store, 'deleted');
  return (await store.ids()).filter((id) => deleted.has(id));
}
