import { openDestination } from '../destination/open.ts';
import { checkArgument, OptionSet, type OptionsOf, optional } from '../options/option.ts';
import { nested } from '../options/values.ts';
import { Repository } from '../repository/repository.ts';
import { environmentOption } from '../snapshot/environment.ts';
import { readWrappers, wrapperOptions } from './encryption.ts';
import {
  type DestinationChoice,
  destinationChoice,
  environmentOf,
  repositoryOf,
  translated,
} from './options.ts';
import { refuseInDataDirectory } from './placement.ts';
import { type KeyOptions, keyOptions } from './repository-keys.ts';

export const initRepositoryOptions = new OptionSet(() => ({
  environment: environmentOption(),
  encryption: optional(nested(wrapperOptions.fields), {
    description:
      'Encrypts the repository, for all that are named. It cannot be changed later whether it is encrypted.',
    without: 'the repository is in clear',
  }),
}));
export type InitRepositoryOptions = OptionsOf<typeof initRepositoryOptions>;

export interface RepositorySummary {
  readonly repositoryId: string;
  readonly destination: string;
  readonly createdAtMs: number;
  /** Of the keys of an encrypted repository; null where it is in clear. */
  readonly keyFingerprint: string | null;
  readonly stores: readonly StoreSummary[];
}

export interface StoreSummary {
  readonly storeId: string;
  /** Null where the store's identity is missing. */
  readonly engine: string | null;
  readonly name: string | null;
  readonly firstSeenAtMs: number | null;
  readonly backups: number;
  readonly latest: string | null;
}

/**
 * Makes a repository: in a folder, which is made if it is missing, or in a destination of your own. `REPOSITORY_EXISTS` when there is
 * one already, `DESTINATION_PATH_CONFLICT` when the folder lies in a data directory. `warnings` tells what an operator should know of the destination.
 */
export async function initRepository(
  destination: DestinationChoice,
  options: InitRepositoryOptions = {},
): Promise<RepositorySummary & { readonly warnings: readonly string[] }> {
  checkArgument('initRepository: destination', destinationChoice(), destination);
  initRepositoryOptions.check('initRepository', options);
  return translated(async () => {
    const env = environmentOf(options);
    if (typeof destination === 'string') await refuseInDataDirectory(env, destination);
    const opened =
      typeof destination === 'string' ? await openDestination(destination, { create: true }) : destination;
    await Repository.refuseExisting(opened); // before a new key file is made, which would open nothing
    const wrappers = options.encryption && (await readWrappers(env.fs, options.encryption));
    const { repository, warnings } = await Repository.init(env, opened, wrappers);
    return { ...(await summarize(repository)), warnings };
  });
}

/** What is in a repository. `DESTINATION_NOT_FOUND` when there is none, `REPOSITORY_KEY_REQUIRED` when it is encrypted. */
export async function showRepository(
  destination: DestinationChoice,
  options: KeyOptions = {},
): Promise<RepositorySummary> {
  checkArgument('showRepository: destination', destinationChoice(), destination);
  keyOptions.check('showRepository', options);
  return translated(async () => summarize(await repositoryOf(environmentOf(options), destination, options)));
}

async function summarize(repository: Repository): Promise<RepositorySummary> {
  const stores: StoreSummary[] = [];
  for (const storeId of await repository.storeIds()) {
    const store = repository.store(storeId);
    const identity = await store.identity();
    const ids = await store.ids();
    stores.push({
      storeId,
      engine: identity?.engine ?? null,
      name: identity?.name ?? null,
      firstSeenAtMs: identity?.first_seen_at_ms ?? null,
      backups: ids.length,
      latest: ids.at(-1) ?? null,
    });
  }
  return {
    repositoryId: repository.id,
    destination: repository.destination.url,
    createdAtMs: repository.createdAtMs,
    keyFingerprint: repository.fingerprint,
    stores,
  };
}
