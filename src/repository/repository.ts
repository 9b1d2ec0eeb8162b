import { bodyOf, type Destination } from '../destination/destination.ts';
import { newUlid } from '../env/ulid.ts';
import { StillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import { type RepositoryIdentity, readIdentity, unlockRepository } from './identity.ts';
import { REPOSITORY_KEY, STORES, storeIdOf } from './layout.ts';
import { type KeySlot, makeSlot, writeKeys } from './sealing/key-documents.ts';
import type { Unlockers, Wrapper } from './sealing/key-slots.ts';
import { Keyring } from './sealing/keyring.ts';
import { Sealer } from './sealing/sealer.ts';
import { StoreBackups } from './store-backups.ts';

/** What stillpoint keeps in a destination: an identity, and the backups of any number of stores. */
export class Repository {
  readonly id: string;
  readonly createdAtMs: number;
  /** Tells whose keys it has; null where it is not encrypted. */
  readonly fingerprint: string | null;
  readonly destination: Destination;
  readonly #env: Environment;
  readonly #sealer: Sealer | undefined;

  private constructor(
    env: Environment,
    destination: Destination,
    { repository_id, created_at_ms, encryption }: RepositoryIdentity,
    keyring: Keyring | undefined,
  ) {
    this.fingerprint = encryption?.fingerprint ?? null;
    this.#sealer = keyring && new Sealer(keyring);
    this.#env = env;
    this.destination = destination;
    this.id = repository_id;
    this.createdAtMs = created_at_ms;
  }

  /** `REPOSITORY_EXISTS` when there is one. */
  static async refuseExisting(destination: Destination): Promise<void> {
    if ((await destination.head(REPOSITORY_KEY)) !== undefined) throw exists(destination);
  }

  /**
   * Makes a repository in a destination. `REPOSITORY_EXISTS` when there is one, `DESTINATION_CONFIG_INVALID` when the destination
   * cannot create an object without replacing another.
   * @param wrappers Who may open it, at least one; without, it is not encrypted.
   */
  static async init(
    env: Environment,
    destination: Destination,
    wrappers?: readonly Wrapper[],
  ): Promise<{ repository: Repository; warnings: readonly string[] }> {
    await Repository.refuseExisting(destination);
    const { ifAbsent, warnings } = await destination.probe();
    if (!ifAbsent) {
      throw new StillpointError(
        'DESTINATION_CONFIG_INVALID',
        `${destination.url} replaces objects that it was asked not to replace`,
        { hint: 'Use a destination that keeps `If-None-Match: *`.' },
      );
    }
    const repositoryId = newUlid(env.clock.nowMs());
    const keyring = wrappers && Keyring.make(repositoryId);
    // The keys come first: a repository without them could be opened by nobody.
    if (keyring !== undefined) await putFirstKeys(env, destination, keyring, wrappers!);
    const identity: RepositoryIdentity = {
      format: 'stillpoint-repository',
      version: 1,
      repository_id: repositoryId,
      created_at_ms: env.clock.nowMs(),
      ...(keyring && { encryption: { cipher: 'AES-256-GCM', fingerprint: keyring.fingerprint } }),
    };
    const bytes = Buffer.from(`${JSON.stringify(identity)}\n`);
    const answer = await destination.put(REPOSITORY_KEY, bodyOf(bytes), { ifAbsent: true });
    const stands = await readIdentity(destination);
    if (answer === 'exists' && stands.repository_id !== repositoryId) throw exists(destination);
    if (stands.encryption?.fingerprint !== keyring?.fingerprint) {
      throw new StillpointError('REPOSITORY_INVALID', `${REPOSITORY_KEY} is not what was put`, {
        path: REPOSITORY_KEY,
      });
    }
    return { repository: new Repository(env, destination, stands, keyring), warnings };
  }

  /**
   * `DESTINATION_NOT_FOUND` when there is no repository, `REPOSITORY_INVALID` when it cannot be read, `REPOSITORY_KEY_REQUIRED`,
   * `REPOSITORY_KEY_WRONG`, `REPOSITORY_NOT_ENCRYPTED` when there is a key for one in clear.
   */
  static async open(env: Environment, destination: Destination, unlockers?: Unlockers): Promise<Repository> {
    const identity = await readIdentity(destination);
    const { keyring } = (await unlockRepository(destination, identity, unlockers)) ?? {};
    return new Repository(env, destination, identity, keyring);
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
    return new StoreBackups(this.#env, this.destination, this.id, storeId, this.#sealer);
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

/** Durable and read back before the repository exists. */
async function putFirstKeys(
  { clock }: Environment,
  destination: Destination,
  keyring: Keyring,
  wrappers: readonly Wrapper[],
): Promise<void> {
  const slots: KeySlot[] = [];
  for (const wrapper of wrappers)
    slots.push(await makeSlot(keyring, wrapper, slots.length + 1, clock.nowMs()));
  await writeKeys(destination, clock, keyring, 1, slots);
}

const exists = (destination: Destination): StillpointError =>
  new StillpointError('REPOSITORY_EXISTS', `there is a repository in ${destination.url} already`);
