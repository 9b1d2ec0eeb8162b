import { ulidTimeMs } from '../env/ulid.ts';
import { StillpointError } from '../errors.ts';
import type { Level } from '../options/choices.ts';
import { checkArgument, OptionSet, type OptionsOf, optional, required } from '../options/option.ts';
import { text } from '../options/values.ts';
import { type BackupManifest, objectsOf } from '../repository/backup-manifest.ts';
import { readDamaged } from '../repository/damaged-objects.ts';
import { backupsPrefix, objectsPrefix, type SetPin } from '../repository/layout.ts';
import { readMarks, readSetPins, readVerified, type Verified } from '../repository/marks.ts';
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
    description: 'The id or the name of the store. Needed only where the repository has several.',
    flag: { value: 'store' },
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
  /** Why the manifest cannot be trusted, or what it names that is not there; null for neither. */
  readonly problem: string | null;
  /** How deep its content was proven, before it was uploaded or since; null: that is not known. */
  readonly level: Level | null;
  /** Whether it was read and found damaged: an object of it, or its content. */
  readonly damaged: boolean;
  readonly pinned: boolean;
  /** Ids of the fleet backups that pin it. */
  readonly fleetBackups: readonly string[];
  /** When it was last read in full and was whole; null: never. */
  readonly verifiedAtMs: number | null;
}

export interface BackupList {
  readonly stores: readonly StoreList[];
}

export interface StoreList {
  readonly storeId: string;
  /** Null where the store's identity is missing. */
  readonly name: string | null;
  /** Oldest first. */
  readonly backups: readonly BackupSummary[];
}

/** The store that the options mean; `own` is that of the data directory, where there is one. */
export async function storeOf(options: FromOptions, own?: string): Promise<StoreBackups> {
  const repository = await repositoryOf(environmentOf(options), options.from, options);
  if (options.store === undefined && own !== undefined) {
    if ((await repository.storeIds()).includes(own)) return repository.store(own);
  }
  return repository.findStore(options.store);
}

/** The backups in a repository, or those of one store. Needs nothing but the repository. */
export async function listBackups(options: FromOptions): Promise<BackupList> {
  fromOptions.check('listBackups', options);
  return summaries(options, async () => undefined);
}

/**
 * The same, and what can be seen without reading the data: a backup that names an object which is gone, or has another size, is
 * `damaged`, and `problem` says which. Lists all objects of each store.
 */
export async function glanceAtBackups(options: FromOptions): Promise<BackupList> {
  fromOptions.check('glanceAtBackups', options);
  return summaries(options, sizesOfObjects);
}

type Sizes = ReadonlyMap<string, number>;

async function sizesOfObjects({ destination, storeId }: StoreBackups): Promise<Sizes> {
  const sizes = new Map<string, number>();
  for (const prefix of [objectsPrefix(storeId), backupsPrefix(storeId)])
    for await (const { key, sizeBytes } of destination.list(prefix)) sizes.set(key, sizeBytes);
  return sizes;
}

function summaries(
  options: FromOptions,
  sizesIn: (store: StoreBackups) => Promise<Sizes | undefined>,
): Promise<BackupList> {
  return translated(async () => {
    const repository = await repositoryOf(environmentOf(options), options.from, options);
    const all =
      options.store === undefined ? await repository.stores() : [await repository.findStore(options.store)];
    const stores: StoreList[] = [];
    for (const store of all) {
      const backups: BackupSummary[] = [];
      const marks = await readAllMarks(store);
      // The backups first: what one of them names was there before it.
      const ids = await store.ids();
      const sizes = await sizesIn(store);
      for (const id of ids) {
        const summary = await summarize(store, id, marks, sizes);
        if (summary !== undefined) backups.push(summary);
      }
      stores.push({ storeId: store.storeId, name: await store.name(), backups });
    }
    return { stores };
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
    return { storeId: store.storeId, ...(await summarize(store, backupId, await readAllMarks(store)))! };
  });
}

interface AllMarks {
  readonly pinned: ReadonlySet<string>;
  readonly setPins: readonly SetPin[];
  readonly verified: ReadonlyMap<string, Verified>;
  readonly damaged: ReadonlyMap<string, number>;
}

const readAllMarks = async (store: StoreBackups): Promise<AllMarks> => ({
  pinned: await readMarks(store, 'pinned'),
  setPins: await readSetPins(store),
  verified: await readVerified(store),
  damaged: await readDamaged(store),
});

/** How deep the content of a backup was proven: before it was uploaded, or by what read it since. What was not read is not. */
export const levelOf = ({ snapshot }: BackupManifest, read: Verified | undefined): Level | null =>
  read?.isUnread ? 'files' : read?.isProven ? 'full' : (snapshot.snapshot?.level ?? null);

async function summarize(
  store: StoreBackups,
  id: string,
  { pinned, setPins, verified, damaged }: AllMarks,
  sizes?: Sizes,
): Promise<BackupSummary | undefined> {
  const read = verified.get(id);
  const fleetBackups = setPins.flatMap(({ backupId, set }) => (backupId === id ? [set] : []));
  const isPinned = pinned.has(id) || fleetBackups.length > 0;
  const marks = { pinned: isPinned, fleetBackups, verifiedAtMs: read?.atMs ?? null };
  try {
    const manifest = await store.read(id);
    if (manifest === undefined) return undefined; // deleted since it was listed
    const { createdAtMs, engine, tool, storedBytes, snapshot } = manifest;
    const problem = sizes === undefined ? null : lacking(objectsOf(manifest), sizes);
    const isDamaged = read?.isDamaged || [...objectsOf(manifest).keys()].some((key) => damaged.has(key));
    return {
      backupId: id,
      createdAtMs,
      engine,
      files: snapshot.entries.length,
      totalBytes: snapshot.entries.reduce((sum, { size }) => sum + size, 0),
      storedBytes,
      tool,
      problem,
      level: levelOf(manifest, read),
      damaged: problem !== null || isDamaged,
      ...marks,
    };
  } catch (error) {
    if (!(error instanceof StillpointError) || error.code !== 'BACKUP_DAMAGED') throw error;
    const unknown = {
      engine: null,
      files: null,
      totalBytes: null,
      storedBytes: null,
      tool: null,
      level: null,
    };
    const problem = error.message;
    return { backupId: id, createdAtMs: ulidTimeMs(id), ...unknown, problem, damaged: false, ...marks };
  }
}

/** What a backup names and the repository does not have; null for nothing. */
function lacking(objects: Sizes, sizes: Sizes): string | null {
  const wrong = [...objects].filter(([key, bytes]) => sizes.get(key) !== bytes);
  const [first] = wrong;
  if (first === undefined) return null;
  const [key, bytes] = first;
  const found = sizes.get(key);
  const what = found === undefined ? `${key} is missing` : `${key} has ${found} bytes, and not ${bytes}`;
  return wrong.length === 1 ? what : `${what}, and ${wrong.length - 1} more objects are missing or changed`;
}
