import { createHash } from 'node:crypto';
import { bodyOf, type Destination, getSmall } from '../destination/destination.ts';
import { isUlid } from '../env/ulid.ts';
import { type ErrorCode, StillpointError, toStillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import {
  BACKUP_MANIFEST_LIMIT_BYTES,
  type BackupManifest,
  decodeBackupManifest,
  encodeBackupManifest,
} from './backup-manifest.ts';
import { backupIdOf, backupsPrefix, manifestKey } from './layout.ts';
import type { Sealer } from './sealing/sealer.ts';
import { createStoreDocument, readStoreDocument, type StoreIdentity } from './store-document.ts';

export const LATEST_BACKUP = 'latest';

export interface StoredManifest {
  readonly manifest: BackupManifest;
  readonly bytes: Buffer;
  readonly key: string;
  /** Of the bytes. */
  readonly sha256: string;
}

/** The backups of one store in one repository. */
export class StoreBackups {
  readonly environment: Environment;
  readonly destination: Destination;
  readonly repositoryId: string;
  readonly storeId: string;
  /** Undefined where the repository is not encrypted. */
  readonly sealer: Sealer | undefined;

  constructor(
    environment: Environment,
    destination: Destination,
    repositoryId: string,
    storeId: string,
    sealer?: Sealer,
  ) {
    this.sealer = sealer;
    this.environment = environment;
    this.destination = destination;
    this.repositoryId = repositoryId;
    this.storeId = storeId;
  }

  /** Tells whose keys its backups are sealed with; null where they are in clear. */
  get keyFingerprint(): string | null {
    return this.sealer?.fingerprint ?? null;
  }

  /** Undefined before the first backup. `REPOSITORY_INVALID` when it is that of another store, or was edited. */
  identity(): Promise<StoreIdentity | undefined> {
    return readStoreDocument(this.destination, this.storeId, this.sealer);
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

  #create(engine: string, name: string): Promise<StoreIdentity> {
    const identity: StoreIdentity = {
      format: 'stillpoint-store',
      version: 1,
      store_id: this.storeId,
      engine,
      name,
      first_seen_at_ms: this.environment.clock.nowMs(),
    };
    return createStoreDocument(this.destination, identity, this.sealer);
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
    return bytes && decodeBackupManifest(bytes, this.#placeOf(backupId), this.sealer);
  }

  /** As `read`, with what a record says of it. */
  async readStored(backupId: string): Promise<StoredManifest | undefined> {
    const bytes = await this.#bytes(backupId);
    if (bytes === undefined) return undefined;
    const manifest = decodeBackupManifest(bytes, this.#placeOf(backupId), this.sealer);
    const key = manifestKey(this.storeId, backupId);
    return { manifest, bytes, key, sha256: createHash('sha256').update(bytes).digest('hex') };
  }

  /**
   * As `readStored`, for a backup that a run published without being told so: resolves once the manifest is durable. The run may have
   * died before it synced the name, so the same bytes are put once more.
   */
  async settle(backupId: string): Promise<StoredManifest | undefined> {
    const stored = await this.readStored(backupId);
    if (stored !== undefined)
      await this.destination.put(stored.key, bodyOf(stored.bytes), { ifAbsent: true });
    return stored;
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

  /** Whether there is a manifest with this id, of whatever content. */
  async has(backupId: string): Promise<boolean> {
    return (await this.destination.head(manifestKey(this.storeId, backupId))) !== undefined;
  }

  /** By the clock of the destination; undefined when there is no such manifest. */
  async publishedAtMs(backupId: string): Promise<number | undefined> {
    return (await this.destination.head(manifestKey(this.storeId, backupId)))?.modifiedAtMs;
  }

  /** Ends the existence of a backup. REQUIRES: a mark says that it is deleted. */
  async removeManifest(backupId: string): Promise<void> {
    const key = manifestKey(this.storeId, backupId);
    await this.destination.delete([key]);
    if (!(await this.has(backupId))) return;
    throw new StillpointError('IO_ERROR', `${key} was deleted and is still there`, { path: key });
  }

  /**
   * Makes a backup exist: from now on it can be restored. Every object that it names must be there. The manifest is decoded before
   * it is sent, and read back afterwards. `BACKUP_DAMAGED` when it would not be accepted by a restore, `PUBLICATION_UNKNOWN` when
   * nobody can tell whether it came to be.
   */
  async publish(manifest: BackupManifest): Promise<{ readonly key: string; readonly bytes: Buffer }> {
    const { backupId } = manifest;
    const key = manifestKey(this.storeId, backupId);
    const bytes = encodeBackupManifest(manifest, this.sealer);
    decodeBackupManifest(bytes, this.#placeOf(backupId), this.sealer);
    const answer = await this.destination.put(key, bodyOf(bytes), { ifAbsent: true }).catch(async (error) => {
      throw await this.#whatCameOf(backupId, toStillpointError(error));
    });
    const stored = await this.#bytes(backupId).catch((error) => {
      throw unknownPublication(key, `it cannot be read back: ${toStillpointError(error).message}`, error);
    });
    if (stored?.equals(bytes)) return { key, bytes };
    if (answer === 'exists' && stored !== undefined)
      throw new StillpointError('CONFLICT', `another backup has the id ${backupId}`, { path: key });
    throw unknownPublication(
      key,
      `the destination ${stored === undefined ? 'does not have it' : 'holds other bytes'}`,
    );
  }

  /** The error stands where the destination refused the manifest and does not have it. Any other manifest may still arrive. */
  async #whatCameOf(backupId: string, error: StillpointError): Promise<StillpointError> {
    const key = manifestKey(this.storeId, backupId);
    if (REFUSALS.has(error.code) && (await this.has(backupId).catch(() => true)) === false) return error;
    return unknownPublication(key, `the answer was: ${error.message}`, error);
  }

  async #bytes(backupId: string): Promise<Buffer | undefined> {
    const key = manifestKey(this.storeId, backupId);
    try {
      return await getSmall(this.destination, key, BACKUP_MANIFEST_LIMIT_BYTES);
    } catch (error) {
      if (!(error instanceof StillpointError) || error.code !== 'REPOSITORY_INVALID') throw error;
      throw new StillpointError('BACKUP_DAMAGED', error.message, { path: key, cause: error }); // it is too long
    }
  }

  #placeOf(backupId: string) {
    return { repositoryId: this.repositoryId, storeId: this.storeId, backupId };
  }
}

/** Answers of a destination that did not take an object. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'DESTINATION_NOT_FOUND',
  'DESTINATION_NO_SPACE',
  'DESTINATION_PERMISSION_DENIED',
  'DESTINATION_CREDENTIALS_INVALID',
  'DESTINATION_CONFIG_INVALID',
  'DESTINATION_PATH_CONFLICT',
]);

const unknownPublication = (key: string, why: string, cause?: unknown): StillpointError =>
  new StillpointError('PUBLICATION_UNKNOWN', `${key} was sent, and ${why}`, { path: key, cause });
