import { salvageDatabase, salvageOptions } from '../coordinator/salvage.ts';
import { temporaryFolder } from '../env/temporary-folder.ts';
import { StillpointError } from '../errors.ts';
import { checkArgument, OptionSet, type OptionsOf, withDefault } from '../options/option.ts';
import { folder, text } from '../options/values.ts';
import { writeReadable } from '../repository/write-readable.ts';
import type { Salvaged } from '../salvage/salvage.ts';
import { fromFields, storeOf } from './list-backups.ts';
import { followed, translated } from './options.ts';
import { refuseOverlap } from './placement.ts';
import { inScratch } from './scratch.ts';

export const salvageBackupOptions = new OptionSet(() => ({
  ...fromFields(),
  into: salvageOptions.fields.into,
  scratch: withDefault(folder(), temporaryFolder, {
    description: 'An existing folder with room for the whole backup.',
    flag: { value: 'dir' },
  }),
}));
export type SalvageBackupOptions = OptionsOf<typeof salvageBackupOptions>;

export interface SalvagedBackup extends Salvaged {
  readonly backupId: string;
  readonly storeId: string;
  /** Files of the backup that cannot be read in whole, and why. */
  readonly damaged: readonly { readonly path: string; readonly message: string }[];
}

const SALVAGEABLE = ['leveldb', 'lsm'];

/**
 * Reads all that a damaged backup still says, and writes it into a new database, which is proven. The manifest must be whole: `BACKUP_DAMAGED` where
 * it is not. `complete` is false as soon as one object of the backup is damaged. `ENGINE_MISMATCH` where it is neither LevelDB nor lsm.
 */
export async function salvageBackup(backup: string, options: SalvageBackupOptions): Promise<SalvagedBackup> {
  checkArgument('salvageBackup: backup', text(), backup);
  const { into, scratch, ...from } = salvageBackupOptions.resolve('salvageBackup', options);
  return translated(async () => {
    const store = await storeOf(from);
    const { environment: env, destination, storeId } = store;
    const manifest = await store.find(backup);
    const { backupId, engine, files } = manifest;
    if (!SALVAGEABLE.includes(engine)) {
      throw new StillpointError(
        'ENGINE_MISMATCH',
        `${backupId} holds data of ${engine}, and only databases of LevelDB and lsm can be salvaged`,
        { hint: '`stillpoint backup list` shows the other backups; one before it may be whole.' },
      );
    }
    await refuseOverlap(env, destination, into);
    const bytesTotal = files.reduce((sum, { stored }) => sum + (stored?.bytes ?? 0), 0);
    const look = ({ bytes }: { readonly bytes: number }) => ({
      phase: bytes < bytesTotal ? 'download' : 'salvage',
      bytesProcessed: bytes,
      bytesTotal,
    });
    return followed(env, from, look, (control) =>
      inScratch(env, destination, scratch, async (place) => {
        const damages = await writeReadable(store, manifest, place, control);
        const salvaged = await salvageDatabase(place, {
          into,
          engine: engine as 'leveldb' | 'lsm',
          environment: env,
          signal: control.signal,
        });
        return {
          ...salvaged,
          from: `backup ${backupId} in ${destination.url}`,
          complete: salvaged.complete && damages.length === 0,
          backupId,
          storeId,
          damaged: damages.flatMap(({ key, files, message }) =>
            files.map(({ path }) => ({ path, message: `${key} ${message}` })),
          ),
        };
      }),
    );
  });
}
