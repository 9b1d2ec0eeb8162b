import { isUlid } from '../env/ulid.ts';
import { StillpointError } from '../errors.ts';
import { checkArgument } from '../options/option.ts';
import { text } from '../options/values.ts';
import { pin, pinsOn, unpin } from '../repository/marks.ts';
import { removeBackup } from '../repository/remove-backup.ts';
import { LATEST_BACKUP, type StoreBackups } from '../repository/store-backups.ts';
import { type FromOptions, fromOptions, storeOf } from './list-backups.ts';
import { translated } from './options.ts';
import { prune } from './prune-backups.ts';

/** A backup that was named. */
export interface NamedBackup {
  readonly backupId: string;
  readonly storeId: string;
}

export interface UnpinnedBackup extends NamedBackup {
  /** Ids of the fleet backups that pinned it until now: they may lose this member. */
  readonly fleetBackups: readonly string[];
}

export interface DeletedBackup extends NamedBackup {
  /** False when there was no such backup; from now on nobody expects it. */
  readonly existed: boolean;
}

/** Keeps a backup from every prune until it is unpinned. `NOT_FOUND` when there is none, or it is about to be deleted. */
export const pinBackup = (backup: string, options: FromOptions): Promise<NamedBackup> =>
  withBackup('pinBackup', backup, options, async (store, backupId) => pin(store, backupId));

/** Prunes may remove it again, also when fleet backups pinned it. That it was not pinned is no error. */
export async function unpinBackup(backup: string, options: FromOptions): Promise<UnpinnedBackup> {
  let fleetBackups: readonly string[] = [];
  const named = await withBackup('unpinBackup', backup, options, async (store, backupId) => {
    fleetBackups = await unpin(store, backupId);
  });
  return { ...named, fleetBackups };
}

/**
 * Removes one backup, also one whose manifest cannot be read or is gone already. `CONFLICT` when it is pinned, the newest, the newest
 * good one or the newest verified one. Its objects are deleted by later prunes.
 */
export async function deleteBackup(backup: string, options: FromOptions): Promise<DeletedBackup> {
  let existed = false;
  const named = await withBackup('deleteBackup', backup, options, async (store, backupId) => {
    existed = await store.has(backupId);
    const { kept } = await prune(store, { rule: {}, dryRun: true });
    const reasons = kept.find((one) => one.backupId === backupId)?.reasons ?? [];
    const lasting = reasons.filter((reason) => /^(pinned|newest)/.test(reason));
    if (lasting.length > 0) throw stays(backupId, lasting);
    if (!(await removeBackup(store, backupId))) throw stays(backupId, await pinsOn(store, backupId));
  });
  return { ...named, existed };
}

const stays = (backupId: string, reasons: readonly string[]) =>
  new StillpointError('CONFLICT', `the backup ${backupId} stays: ${reasons.join(', ')}`, {
    hint: 'Unpin it with `stillpoint backup unpin`, or `stillpoint fleet forget` if it is part of a fleet backup; or make a newer good backup first.',
  });

function withBackup(
  call: string,
  backup: string,
  options: FromOptions,
  work: (store: StoreBackups, backupId: string) => Promise<void>,
): Promise<NamedBackup> {
  checkArgument(`${call}: backup`, text(), backup);
  fromOptions.check(call, options);
  return translated(async () => {
    const store = await storeOf(options);
    const backupId = backup === LATEST_BACKUP ? (await store.find(backup)).backupId : backup;
    if (!isUlid(backupId)) {
      throw new StillpointError('NOT_FOUND', `there is no backup "${backup}" in ${store.destination.url}`, {
        hint: '`stillpoint backup list --from DEST` shows what exists.',
      });
    }
    await work(store, backupId);
    return { backupId, storeId: store.storeId };
  });
}
