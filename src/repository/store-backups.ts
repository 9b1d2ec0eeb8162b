import { createHash } from 'node:crypto';
import * as z from 'zod';
import { bodyOf, type Destination, getSmall } from '../destination/destination.ts';
import { isUlid } from '../env/ulid.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import {
  BACKUP_MANIFEST_LIMIT_BYTES,
  type BackupManifest,
  decodeBackupManifest,
  encodeBackupManifest,
} from './backup-manifest.ts';
import { backupIdOf, backupsPrefix, manifestKey, storeKey } from './layout.ts';
import { readJson } from './small-json.ts';

const storeSchema = z.strictObject({
  format: z.literal('stillpoint-store'),
  version: z.literal(1),
  store_id: z.string().refine(isUlid, 'is no ULID'),
  engine: z.string().min(1).max(50),
  /** The last part of the data directory's path when the store was first seen. */
  name: z.string().max(255),
  first_seen_at_ms: z.number().int().min(0),
});

export type StoreIdentity = z.infer<typeof storeSchema>;

export const LATEST_BACKUP = 'latest';

/** The backups of one store in one repository. */
export class StoreBackups {
  readonly environment: Environment;
  readonly destination: Destination;
  readonly repositoryId: string;
  readonly storeId: string;

  constructor(environment: Environment, destination: Destination, repositoryId: string, storeId: string) {
    this.environment = environment;
    this.destination = destination;
    this.repositoryId = repositoryId;
    this.storeId = storeId;
  }

  /** Undefined before the first backup. `REPOSITORY_INVALID` when it is that of another store. */
  async identity(): Promise<StoreIdentity | undefined> {
    const key = storeKey(this.storeId);
    const identity = await readJson(this.destination, key, storeSchema);
    if (identity === undefined || identity.store_id === this.storeId) return identity;
    throw new StillpointError('REPOSITORY_INVALID', `${key} is of another store, ${identity.store_id}`, {
      path: key,
    });
  }

  /** What people call it; null where its identity is missing or cannot be trusted, which does not keep anybody from its backups. */
  async name(): Promise<string | null> {
    try {
      return (await this.identity())?.name ?? null;
    } catch (error) {
      if (error instanceof StillpointError && error.code === 'REPOSITORY_INVALID') return null;
      throw error;
    }
  }

  /** Puts the store on record. `ENGINE_MISMATCH` when another engine's data was backed up under this id. */
  async introduce(engine: string, name: string): Promise<void> {
    const identity = (await this.identity()) ?? (await this.#create(engine, name));
    if (identity.engine === engine) return;
    throw new StillpointError(
      'ENGINE_MISMATCH',
      `store ${this.storeId} holds data of ${identity.engine}, and this is data of ${engine}`,
      { hint: 'Back it up as a store of its own: `--new-store`.' },
    );
  }

  async #create(engine: string, name: string): Promise<StoreIdentity> {
    const key = storeKey(this.storeId);
    const identity: StoreIdentity = {
      format: 'stillpoint-store',
      version: 1,
      store_id: this.storeId,
      engine,
      name,
      first_seen_at_ms: this.environment.clock.nowMs(),
    };
    const body = bodyOf(Buffer.from(`${JSON.stringify(identity)}\n`));
    const answer = await this.destination.put(key, body, { ifAbsent: true });
    const stands = answer === 'written' ? identity : await this.identity();
    if (stands !== undefined) return stands;
    throw new StillpointError('REPOSITORY_INVALID', `${key} exists and cannot be read`, { path: key });
  }

  /** Ids of the backups that have a manifest, oldest first. What a listing leaves out is not proven to be absent. */
  async ids(): Promise<string[]> {
    const ids: string[] = [];
    for await (const { key } of this.destination.list(backupsPrefix(this.storeId))) {
      const id = backupIdOf(this.storeId, key);
      if (id !== undefined) ids.push(id);
    }
    return ids.sort();
  }

  /** Undefined when there is none; `BACKUP_DAMAGED` when it cannot be trusted. */
  async read(backupId: string): Promise<BackupManifest | undefined> {
    const bytes = await this.#bytes(backupId);
    return bytes && decodeBackupManifest(bytes, this.#placeOf(backupId));
  }

  /** As `read`, with what a record says of it. */
  async readWithBytes(
    backupId: string,
  ): Promise<{ manifest: BackupManifest; key: string; sha256: string } | undefined> {
    const bytes = await this.#bytes(backupId);
    if (bytes === undefined) return undefined;
    const manifest = decodeBackupManifest(bytes, this.#placeOf(backupId));
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    return { manifest, key: manifestKey(this.storeId, backupId), sha256 };
  }

  /** As `read`; `latest` is the newest backup. `NOT_FOUND` when there is none. */
  async find(backup: string): Promise<BackupManifest> {
    const id = backup === LATEST_BACKUP ? (await this.ids()).at(-1) : backup;
    const manifest = id !== undefined && isUlid(id) ? await this.read(id) : undefined;
    if (manifest !== undefined) return manifest;
    throw new StillpointError('NOT_FOUND', `there is no backup "${backup}" in ${this.destination.url}`, {
      hint: '`stillpoint backup list --from DEST` shows what exists.',
    });
  }

  /**
   * Makes a backup exist: from now on it can be restored. Every object that it names must be there. `PUBLICATION_UNKNOWN` when
   * nobody can tell whether it came to be.
   */
  async publish(manifest: BackupManifest): Promise<{ readonly key: string; readonly bytes: Buffer }> {
    const { backupId } = manifest;
    const key = manifestKey(this.storeId, backupId);
    const bytes = encodeBackupManifest(manifest);
    const answer = await this.destination.put(key, bodyOf(bytes), { ifAbsent: true }).catch(async (error) => {
      throw await this.#whatCameOf(backupId, toStillpointError(error));
    });
    if (answer === 'exists' && !(await this.#bytes(backupId))?.equals(bytes)) {
      throw new StillpointError('CONFLICT', `another backup has the id ${backupId}`, { path: key });
    }
    return { key, bytes };
  }

  /** The error stands where the manifest is certainly not there. */
  async #whatCameOf(backupId: string, error: StillpointError): Promise<StillpointError> {
    const key = manifestKey(this.storeId, backupId);
    const isAbsent = await this.destination.head(key).then(
      (info) => info === undefined,
      () => false,
    );
    if (isAbsent) return error;
    return new StillpointError(
      'PUBLICATION_UNKNOWN',
      `${key} was sent, and the answer was: ${error.message}`,
      {
        path: key,
        cause: error,
      },
    );
  }

  #bytes(backupId: string): Promise<Buffer | undefined> {
    return getSmall(this.destination, manifestKey(this.storeId, backupId), BACKUP_MANIFEST_LIMIT_BYTES);
  }

  #placeOf(backupId: string) {
    return { repositoryId: this.repositoryId, storeId: this.storeId, backupId };
  }
}
