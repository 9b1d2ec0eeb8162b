import { ulidTimeMs } from '../env/ulid.ts';
import { StillpointError } from '../errors.ts';
import { checkArgument, OptionSet, type OptionsOf, optional, required } from '../options/option.ts';
import { text } from '../options/values.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import { backupFields, destinationChoice, environmentOf, repositoryOf, translated } from './options.ts';

/** What every call that reads a repository takes. */
export const fromFields = () => ({
  ...backupFields(),
  from: required(destinationChoice(), {
    description: "The repository: a folder's path, `folder:/path`, or a destination of your own.",
    flag: { value: 'dest' },
  }),
  store: optional(text(), {
    description: 'The id of the store. Needed only where the repository has several.',
    flag: { value: 'id' },
  }),
});
export const fromOptions = new OptionSet(fromFields);
export type FromOptions = OptionsOf<typeof fromOptions>;

export interface BackupSummary {
  readonly backupId: string;
  readonly createdAtMs: number;
  /** Null where the manifest cannot be trusted. */
  readonly engine: string | null;
  readonly files: number | null;
  /** Of the files, holes included. */
  readonly totalBytes: number | null;
  /** What is stored of it; backups share most of that. */
  readonly storedBytes: number | null;
  readonly tool: string | null;
  /** Why the manifest cannot be trusted; null when it can. */
  readonly problem: string | null;
}

export interface BackupList {
  readonly storeId: string;
  readonly backups: readonly BackupSummary[];
}

/** The store that the options mean. */
export async function storeOf(options: FromOptions): Promise<StoreBackups> {
  const repository = await repositoryOf(environmentOf(options), options.from);
  return repository.onlyStore(options.store);
}

/** The backups of a store, oldest first. Needs nothing but the repository. */
export async function listBackups(options: FromOptions): Promise<BackupList> {
  fromOptions.check('listBackups', options);
  return translated(async () => {
    const store = await storeOf(options);
    const backups: BackupSummary[] = [];
    for (const id of await store.ids()) {
      const summary = await summarize(store, id);
      if (summary !== undefined) backups.push(summary);
    }
    return { storeId: store.storeId, backups };
  });
}

/** One backup, by its id or `latest`. */
export async function showBackup(
  backup: string,
  options: FromOptions,
): Promise<BackupSummary & { readonly storeId: string }> {
  checkArgument('showBackup: backup', text(), backup);
  fromOptions.check('showBackup', options);
  return translated(async () => {
    const store = await storeOf(options);
    const { backupId } = await store.find(backup);
    return { storeId: store.storeId, ...(await summarize(store, backupId))! };
  });
}

async function summarize(store: StoreBackups, id: string): Promise<BackupSummary | undefined> {
  try {
    const manifest = await store.read(id);
    if (manifest === undefined) return undefined; // deleted since it was listed
    const { createdAtMs, engine, tool, storedBytes, snapshot } = manifest;
    return {
      backupId: id,
      createdAtMs,
      engine,
      files: snapshot.entries.length,
      totalBytes: snapshot.entries.reduce((sum, { size }) => sum + size, 0),
      storedBytes,
      tool,
      problem: null,
    };
  } catch (error) {
    if (!(error instanceof StillpointError) || error.code !== 'BACKUP_DAMAGED') throw error;
    const unknown = { engine: null, files: null, totalBytes: null, storedBytes: null, tool: null };
    return { backupId: id, createdAtMs: ulidTimeMs(id), ...unknown, problem: error.message };
  }
}
