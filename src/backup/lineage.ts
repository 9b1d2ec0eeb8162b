import { dirname, join } from 'node:path';
import * as z from 'zod';
import { readJson, writeJson } from '../env/durable-json.ts';
import { makeFolders } from '../env/io.ts';
import { acquireWithin } from '../env/lock.ts';
import { warn } from '../env/safe-calls.ts';
import { isUlid, ulidTimeMs } from '../env/ulid.ts';
import { StillpointError } from '../errors.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import type { Environment } from '../snapshot/environment.ts';
import { type Layout, lineageFile } from '../snapshot/store/layout.ts';

const id = z.string().refine(isUlid, 'is no ULID');

const schema = z.strictObject({
  version: z.literal(1),
  store_id: id,
  /** By repository id: the last backup published from here, and those since whose manifest was about to be sent, oldest first. */
  repositories: z.record(
    z.string(),
    z.object({
      /** Of the repository's keys when a backup was last published there; null: it was in clear. */
      key_fingerprint: z.string().nullish(),
      published: id.optional(),
      pending: z.array(id).optional(),
    }),
  ),
});

interface Published {
  readonly key_fingerprint?: string | null | undefined;
  readonly published?: string | undefined;
  readonly pending?: readonly string[] | undefined;
}

const LIMIT_BYTES = 1024 * 1024;
const LOCK_WAIT_MS = 30_000;
/** The newest ones are kept. */
const PENDING_LIMIT = 1000;
/** No clock is that wrong: an id further ahead was not made by a backup. */
const AHEAD_MS = 24 * 60 * 60 * 1000;

/**
 * `.lifecycle/lineage.json`: what was published from this data directory. Two directories with one store id, a clone and its
 * original, are told apart by it: each expects its own last backup to be the newest of the store.
 */
export class Lineage {
  readonly #env: Environment;
  readonly #path: string;
  readonly #lock: string;
  readonly #storeId: string;

  constructor(env: Environment, layout: Layout, storeId: string) {
    this.#env = env;
    this.#path = lineageFile(layout);
    this.#lock = join(layout.lifecycle, 'jobs', 'lineage');
    this.#storeId = storeId;
  }

  /** The ids of the backups from here that count: the last published one, and all that may still turn up. Oldest first. */
  async known(repositoryId: string): Promise<string[]> {
    const { published, pending } = await this.last(repositoryId);
    return [...(published === undefined ? [] : [published]), ...pending].sort();
  }

  /** The last backup that was published from here, and those that nobody was told of. */
  async last(repositoryId: string): Promise<{ published: string | undefined; pending: readonly string[] }> {
    const { published, pending = [] } = await this.#of(repositoryId);
    return { published, pending };
  }

  /** Durable before the manifest is sent: should its answer be lost, the next runs know it for their own. */
  async expect({ repositoryId, keyFingerprint }: StoreBackups, backupId: string): Promise<void> {
    await this.#change(repositoryId, ({ published, pending = [] }) => ({
      key_fingerprint: keyFingerprint,
      published,
      pending: [...pending, backupId].slice(-PENDING_LIMIT),
    }));
  }

  async published(repositoryId: string, backupId: string): Promise<void> {
    await this.#change(repositoryId, () => ({ published: backupId, pending: undefined }));
  }

  /**
   * Takes the newest backup of the store for one from here, whoever made it. One that cannot be trusted is passed over, with a
   * warning. `REPOSITORY_INVALID` when its id is more than a day ahead of the clock.
   */
  async claim(store: StoreBackups): Promise<void> {
    const newest = await newestTrusted(store, []);
    if (newest !== undefined && ulidTimeMs(newest) > this.#env.clock.nowMs() + AHEAD_MS) {
      throw new StillpointError(
        'REPOSITORY_INVALID',
        `the id of backup ${newest} is more than a day ahead of the clock`,
        { hint: 'Check the clock of this machine. If it is right, delete that backup.' },
      );
    }
    await this.#change(store.repositoryId, ({ pending }) => ({ published: newest, pending }));
  }

  /**
   * Makes sure that this directory is the one that the store's newest backup came from; resolves to that backup's id. Newer ones
   * that cannot be trusted are passed over, with a warning. `STORE_DIVERGED` when it came from elsewhere, `REPOSITORY_KEY_CHANGED`
   * when the repository has other keys than before: what is sent would be sealed for somebody else, or not at all.
   */
  async check(store: StoreBackups): Promise<string | undefined> {
    const { published, key_fingerprint } = await this.#of(store.repositoryId);
    if (key_fingerprint !== undefined && key_fingerprint !== store.keyFingerprint) {
      const was =
        key_fingerprint === null ? 'was not encrypted' : `had the keys ${key_fingerprint.slice(0, 16)}…`;
      throw new StillpointError(
        'REPOSITORY_KEY_CHANGED',
        `the repository in ${store.destination.url} ${was} when this directory was last backed up there`,
      );
    }
    const known = await this.known(store.repositoryId);
    const newest = await newestTrusted(store, known);
    if (newest !== undefined && known.includes(newest)) return newest;
    // A listing may be late: only the destination itself says that a backup is absent.
    if (published !== undefined && (newest === undefined || newest < published)) {
      if (await store.has(published)) return published;
    }
    if (newest === published) return undefined; // no backup yet, and none expected
    const what =
      newest === undefined
        ? `the last backup from here, ${published}, is gone from ${store.destination.url}`
        : `the newest backup of store ${store.storeId} in ${store.destination.url} is ${newest}, and the last one from here is ${published ?? 'none'}`;
    throw new StillpointError('STORE_DIVERGED', what);
  }

  async #of(repositoryId: string): Promise<Published> {
    return (await this.#read()).repositories[repositoryId] ?? {};
  }

  /** Under a lock of its own: whoever counts as dead may still be at work. */
  async #change(repositoryId: string, change: (before: Published) => Published): Promise<void> {
    const { fs } = this.#env;
    const path = this.#lock;
    await makeFolders(fs, dirname(path));
    const lock = await acquireWithin(this.#env, path, LOCK_WAIT_MS);
    if (lock === undefined) throw new StillpointError('CONFLICT', `another process holds ${path}`, { path });
    try {
      const lineage = await this.#read();
      const before = lineage.repositories[repositoryId] ?? {};
      const repositories = {
        ...lineage.repositories,
        [repositoryId]: { ...before, ...change(before) },
      };
      await writeJson(fs, this.#path, { ...lineage, repositories }, 'lines');
    } finally {
      await lock.release();
    }
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

/** The newest backup that is one of `known`, or has a manifest that can be trusted. */
async function newestTrusted(store: StoreBackups, known: readonly string[]): Promise<string | undefined> {
  for (const id of (await store.ids()).reverse()) {
    if (known.includes(id)) return id;
    try {
      if ((await store.read(id)) !== undefined) return id;
    } catch (error) {
      if (!(error instanceof StillpointError) || error.code !== 'BACKUP_DAMAGED') throw error;
      warn(error);
    }
  }
  return undefined;
}
