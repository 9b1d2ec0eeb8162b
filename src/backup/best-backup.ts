import { StillpointError } from '../errors.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import { knownBackups } from './known-backups.ts';
import { bestBackup } from './retention.ts';

const DAMAGE_CODES: ReadonlySet<string> = new Set(['RESTORE_INTEGRITY_MISMATCH', 'BACKUP_DAMAGED']);

/** The error of a backup that cannot be restored, which names the best one. Any other error is as it was. */
export async function namingBest(store: StoreBackups, backupId: string, error: unknown): Promise<unknown> {
  if (!(error instanceof StillpointError) || !DAMAGE_CODES.has(error.code)) return error;
  const others = await knownBackups(store).catch(() => []); // the damage is what must be told
  const best = bestBackup(others.filter((one) => one.backupId !== backupId))?.backupId;
  const { code, message, path, data, cause } = error;
  const found = best ?? 'none';
  return new StillpointError(code, `${message}; the best backup that is not known to be damaged: ${found}`, {
    ...(path !== undefined && { path }),
    ...(data !== undefined && { data }),
    cause,
    hint:
      best === undefined
        ? `Nothing was changed. No other backup is known to be good. \`stillpoint backup salvage ${backupId} --from DEST --into DIR\` saves what can be read.`
        : `Nothing was changed. \`stillpoint backup restore ${best} --from DEST --into DIR\` restores the best one.`,
  });
}
