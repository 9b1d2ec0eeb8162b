import { join } from 'node:path';
import * as z from 'zod';
import { readJson, writeJson } from '../env/durable-json.ts';
import { isUlid } from '../env/ulid.ts';
import { StillpointError } from '../errors.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import type { Environment } from '../snapshot/environment.ts';
import type { Layout } from '../snapshot/store/layout.ts';

const id = z.string().refine(isUlid, 'is no ULID');

const schema = z.strictObject({
  version: z.literal(1),
  store_id: id,
  /** By repository id: the last backup published from here, and one whose manifest was about to be sent. */
  repositories: z.record(z.string(), z.object({ published: id.optional(), pending: id.optional() })),
});

interface Published {
  readonly published?: string | undefined;
  readonly pending?: string | undefined;
}

const LIMIT_BYTES = 1024 * 1024;

/**
 * `.lifecycle/lineage.json`: what was published from this data directory. Two directories with one store id, a clone and its
 * original, are told apart by it: each expects its own last backup to be the newest of the store.
 */
export class Lineage {
  readonly #env: Environment;
  readonly #path: string;
  readonly #storeId: string;

  constructor(env: Environment, layout: Layout, storeId: string) {
    this.#env = env;
    this.#path = join(layout.lifecycle, 'lineage.json');
    this.#storeId = storeId;
  }

  async of(repositoryId: string): Promise<Published> {
    return (await this.#read()).repositories[repositoryId] ?? {};
  }

  /** Durable before the manifest is sent: should its answer be lost, the next run knows it for its own. */
  async expect(repositoryId: string, backupId: string): Promise<void> {
    await this.#change(repositoryId, (before) => ({ ...before, pending: backupId }));
  }

  async published(repositoryId: string, backupId: string): Promise<void> {
    await this.#change(repositoryId, () => ({ published: backupId }));
  }

  /** Takes the newest backup of the store for one from here, whoever made it. */
  async claim(store: StoreBackups): Promise<void> {
    const newest = (await store.ids()).at(-1);
    await this.#change(store.repositoryId, () => (newest === undefined ? {} : { published: newest }));
  }

  /**
   * Makes sure that this directory is the one that the store's newest backup came from; resolves to that backup's id.
   * `STORE_DIVERGED` when it is not.
   */
  async check(store: StoreBackups): Promise<string | undefined> {
    const { published, pending } = await this.of(store.repositoryId);
    const newest = (await store.ids()).at(-1);
    if (newest !== undefined && (newest === published || newest === pending)) return newest;
    // A listing may be late: only the destination itself says that a backup is absent.
    if (published !== undefined && (newest === undefined || newest < published)) {
      if ((await store.read(published)) !== undefined) return published;
    }
    if (newest === published) return undefined; // no backup yet, and none expected
    const what =
      newest === undefined
        ? `the last backup from here, ${published}, is gone from ${store.destination.url}`
        : `the newest backup of store ${store.storeId} in ${store.destination.url} is ${newest}, and the last one from here is ${published ?? 'none'}`;
    throw new StillpointError('STORE_DIVERGED', what);
  }

  async #change(repositoryId: string, change: (before: Published) => Published): Promise<void> {
    const lineage = await this.#read();
    const repositories = {
      ...lineage.repositories,
      [repositoryId]: change(lineage.repositories[repositoryId] ?? {}),
    };
    await writeJson(this.#env.fs, this.#path, { ...lineage, repositories }, 'lines');
  }

  async #read(): Promise<z.infer<typeof schema>> {
    const path = this.#path;
    const found = await readJson(this.#env.fs, path, {
      schema,
      limitBytes: LIMIT_BYTES,
      refuse: (why, cause) =>
        new StillpointError('STORE_INVALID', `${path}: ${why}`, {
          path,
          cause,
          hint: 'Remove the file, then continue with `stillpoint backup run … --claim`.',
        }),
    });
    if (found?.store_id === this.#storeId) return found;
    return { version: 1, store_id: this.#storeId, repositories: {} };
  }
}
