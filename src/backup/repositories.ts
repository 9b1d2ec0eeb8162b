import { openDestination } from '../destination/open.ts';
import { checkArgument, OptionSet, type OptionsOf } from '../options/option.ts';
import { Repository } from '../repository/repository.ts';
import { environmentOption } from '../snapshot/environment.ts';
import {
  type DestinationChoice,
  destinationChoice,
  environmentOf,
  repositoryOf,
  translated,
} from './options.ts';
import { refuseInDataDirectory } from './placement.ts';

export const repositoryOptions = new OptionSet(() => ({ environment: environmentOption() }));
export type RepositoryOptions = OptionsOf<typeof repositoryOptions>;

export interface RepositorySummary {
  readonly repositoryId: string;
  readonly destination: string;
  readonly createdAtMs: number;
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
  options: RepositoryOptions = {},
): Promise<RepositorySummary & { readonly warnings: readonly string[] }> {
  checkArgument('initRepository: destination', destinationChoice(), destination);
  repositoryOptions.check('initRepository', options);
  return translated(async () => {
    if (typeof destination === 'string') await refuseInDataDirectory(environmentOf(options), destination);
    const opened =
      typeof destination === 'string' ? await openDestination(destination, { create: true }) : destination;
    const { repository, warnings } = await Repository.init(environmentOf(options), opened);
    return { ...(await summarize(repository)), warnings };
  });
}

/** What is in a repository. `DESTINATION_NOT_FOUND` when there is none. */
export async function showRepository(
  destination: DestinationChoice,
  options: RepositoryOptions = {},
): Promise<RepositorySummary> {
  checkArgument('showRepository: destination', destinationChoice(), destination);
  repositoryOptions.check('showRepository', options);
  return translated(async () => summarize(await repositoryOf(environmentOf(options), destination)));
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
    stores,
  };
}
