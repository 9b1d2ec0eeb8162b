import * as z from 'zod';
import { bodyOf, type Destination } from '../destination/destination.ts';
import { isUlid, newUlid } from '../env/ulid.ts';
import { StillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import { REPOSITORY_KEY, STORES, storeIdOf } from './layout.ts';
import { readJson } from './small-json.ts';
import { StoreBackups } from './store-backups.ts';

const ulid = z.string().refine(isUlid, 'is no ULID');

const repositorySchema = z.strictObject({
  format: z.literal('stillpoint-repository'),
  version: z.literal(1),
  repository_id: ulid,
  created_at_ms: z.number().int().min(0),
});

/** What stillpoint keeps in a destination: an identity, and the backups of any number of stores. */
export class Repository {
  readonly id: string;
  readonly createdAtMs: number;
  readonly destination: Destination;
  readonly #env: Environment;

  private constructor(
    env: Environment,
    destination: Destination,
    { repository_id, created_at_ms }: z.infer<typeof repositorySchema>,
  ) {
    this.#env = env;
    this.destination = destination;
    this.id = repository_id;
    this.createdAtMs = created_at_ms;
  }

  /**
   * Makes a repository in a destination. `REPOSITORY_EXISTS` when there is one, `DESTINATION_CONFIG_INVALID` when the destination
   * cannot create an object without replacing another.
   */
  static async init(
    env: Environment,
    destination: Destination,
  ): Promise<{ repository: Repository; warnings: readonly string[] }> {
    if ((await destination.head(REPOSITORY_KEY)) !== undefined) throw exists(destination);
    const { ifAbsent, warnings } = await destination.probe();
    if (!ifAbsent) {
      throw new StillpointError(
        'DESTINATION_CONFIG_INVALID',
        `${destination.url} replaces objects that it was asked not to replace`,
        { hint: 'Use a destination that keeps `If-None-Match: *`.' },
      );
    }
    const identity: z.infer<typeof repositorySchema> = {
      format: 'stillpoint-repository',
      version: 1,
      repository_id: newUlid(env.clock.nowMs()),
      created_at_ms: env.clock.nowMs(),
    };
    const bytes = Buffer.from(`${JSON.stringify(identity)}\n`);
    const answer = await destination.put(REPOSITORY_KEY, bodyOf(bytes), { ifAbsent: true });
    const repository = await Repository.open(env, destination);
    if (answer === 'exists' && repository.id !== identity.repository_id) throw exists(destination);
    return { repository, warnings };
  }

  /** `DESTINATION_NOT_FOUND` when there is no repository, `REPOSITORY_INVALID` when it cannot be read. */
  static async open(env: Environment, destination: Destination): Promise<Repository> {
    const json = await readJson(destination, REPOSITORY_KEY, repositorySchema);
    if (json === undefined) {
      throw new StillpointError('DESTINATION_NOT_FOUND', `there is no repository in ${destination.url}`, {
        hint: 'Check that its disk is mounted. To make one: `stillpoint repo init DEST`.',
      });
    }
    return new Repository(env, destination, json);
  }

  /** The ids of all stores with backups here, oldest first. */
  async storeIds(): Promise<string[]> {
    const ids: string[] = [];
    for await (const { key } of this.destination.list(STORES, { shallow: true })) {
      const id = storeIdOf(key);
      if (id !== undefined) ids.push(id);
    }
    return ids;
  }

  store(storeId: string): StoreBackups {
    return new StoreBackups(this.#env, this.destination, this.id, storeId);
  }

  /** All stores with backups here, oldest first. */
  async stores(): Promise<StoreBackups[]> {
    return (await this.storeIds()).map((id) => this.store(id));
  }

  /**
   * The store with this id or name, or the only one. `INVALID_REQUEST` where several fit, `NOT_FOUND` where none does.
   */
  async findStore(idOrName: string | undefined): Promise<StoreBackups> {
    const ids = await this.storeIds();
    if (idOrName !== undefined && ids.includes(idOrName)) return this.store(idOrName);
    const stores = await Promise.all(ids.map(async (id) => ({ id, name: await this.store(id).name() })));
    const fitting = stores.filter(({ name }) => idOrName === undefined || name === idOrName);
    const [found] = fitting;
    if (found !== undefined && fitting.length === 1) return this.store(found.id);
    const named = idOrName === undefined ? '' : ` with the name ${JSON.stringify(idOrName)}`;
    const list = (of: typeof stores) => of.map(({ id, name }) => `${id} (${name ?? 'no name'})`).join(', ');
    if (found !== undefined) {
      throw new StillpointError(
        'INVALID_REQUEST',
        `there are ${fitting.length} stores${named} in ${this.destination.url}`,
        {
          hint: `Add \`--store\` with an id${idOrName === undefined ? ' or a name' : ''}: ${list(fitting)}.`,
        },
      );
    }
    if (stores.length === 0) {
      throw new StillpointError('NOT_FOUND', `there is no backup in ${this.destination.url} yet`, {
        hint: 'To make one: `stillpoint backup run DIR --to DEST`.',
      });
    }
    throw new StillpointError(
      'NOT_FOUND',
      `there is no store ${JSON.stringify(idOrName)} in ${this.destination.url}`,
      {
        hint: `There are: ${list(stores)}.`,
      },
    );
  }
}

const exists = (destination: Destination): StillpointError =>
  new StillpointError('REPOSITORY_EXISTS', `there is a repository in ${destination.url} already`);
