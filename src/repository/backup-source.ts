import { createHash } from 'node:crypto';
import { yieldToEventLoop } from '../env/clock.ts';
import { warn } from '../env/safe-calls.ts';
import { StillpointError } from '../errors.ts';
import type { SnapshotSource } from '../snapshot/source/snapshot-source.ts';
import type { BackupManifest, StoredFile } from './backup-manifest.ts';
import { recordDamaged } from './damaged-objects.ts';
import { recordReading } from './marks.ts';
import type { StoreBackups } from './store-backups.ts';
import { damageIn, readObject } from './stored-objects.ts';

/** A hole is yielded in chunks of this size. */
const ZEROS = new Uint8Array(256 * 1024);
const PAUSE_BYTES = 4 * 1024 * 1024;

/** A backup as the source of a restore. Each file is held against the SHA-256 that was taken when it was uploaded. */
export function backupSource(store: StoreBackups, manifest: BackupManifest): SnapshotSource {
  const files = new Map(manifest.files.map((file) => [file.path, file]));
  const sizes = new Map(manifest.snapshot.entries.map(({ path, size }) => [path, size]));
  const { compressed } = manifest;
  const packs = new PackCache(store, compressed);
  return {
    location: `backup ${manifest.backupId} in ${store.destination.url}`,
    engine: manifest.engine,
    manifest: async () => manifest.snapshot,
    read(path, signal) {
      const file = files.get(path)!;
      const size = manifest.packs[file.stored?.key ?? ''];
      const open = async () => {
        if (size !== undefined) return packs.read(file, size, signal);
        const { key, bytes } = file.stored!;
        const whole = {
          key,
          contentBytes: bytes,
          compressedBytes: compressed[key],
          offset: 0,
          length: bytes,
        };
        return readObject(store, whole, signal);
      };
      return withHoles(file, sizes.get(path)!, checked(store, file, open));
    },
    storedBytes: (path) => files.get(path)?.stored?.bytes ?? 0,
    noteDamage: () => recordReading(store, manifest.backupId, 'damaged'),
    release: async () => packs.clear(),
  };
}

/** The data of a file, to its last byte only if it is what was uploaded. */
async function* checked(
  store: StoreBackups,
  { path, sha256, stored }: StoredFile,
  open: () => Promise<AsyncIterable<Uint8Array> | Iterable<Uint8Array> | undefined>,
): AsyncGenerator<Uint8Array> {
  if (stored === undefined) return;
  const { key } = stored;
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    const chunks = await open();
    if (chunks === undefined) throw damaged(key, 'is missing');
    for await (const chunk of chunks) {
      bytes += chunk.byteLength;
      if (bytes > stored.bytes) break;
      hash.update(chunk);
      yield chunk;
    }
    if (bytes !== stored.bytes || hash.digest('hex') !== sha256)
      throw damaged(key, `does not hold what was uploaded of ${path}`);
  } catch (error) {
    if (damageIn(error, key) !== undefined) {
      // The restore fails in any case; whether the next backup knows of it, too, is secondary. The names of files stay here.
      await recordDamaged(store, new Map([[key, 'did not restore']])).catch(warn);
    }
    throw error;
  }
}

const damaged = (key: string, what: string): StillpointError =>
  new StillpointError('BACKUP_DAMAGED', `${key} ${what}`, { path: key });

/** Data that goes by in order, with zeros where the file has holes. */
async function* withHoles(
  { ranges }: StoredFile,
  sizeBytes: number,
  data: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  if (ranges === undefined) {
    yield* data;
    return;
  }
  let position = 0;
  let at = 0;
  for await (const chunk of data) {
    for (let from = 0; from < chunk.byteLength; ) {
      const [offset, length] = ranges[at]!;
      if (position < offset) {
        yield* zeros(offset - position);
        position = offset;
      }
      const part = chunk.subarray(from, from + offset + length - position);
      yield part;
      from += part.byteLength;
      position += part.byteLength;
      if (position === offset + length) at++;
    }
  }
  yield* zeros(sizeBytes - position);
}

/** Nothing here waits for a disk or a network: without a pause, timers and requests of the process would wait for the whole hole. */
async function* zeros(count: number): AsyncGenerator<Uint8Array> {
  let sincePause = 0;
  for (let left = count; left > 0; left -= ZEROS.byteLength) {
    yield ZEROS.subarray(0, left);
    sincePause += ZEROS.byteLength;
    if (sincePause < PAUSE_BYTES) continue;
    sincePause = 0;
    await yieldToEventLoop();
  }
}

const PACKS = 4;

/**
 * The last packs that were asked for, whole, in memory. Files are packed in the order of their size and restored in it, so that each
 * pack is fetched about once.
 */
class PackCache {
  readonly #store: StoreBackups;
  readonly #compressed: BackupManifest['compressed'];
  readonly #packs = new Map<string, Promise<Buffer | undefined>>();

  constructor(store: StoreBackups, compressed: BackupManifest['compressed']) {
    this.#store = store;
    this.#compressed = compressed;
  }

  async read(
    { stored }: StoredFile,
    sizeBytes: number,
    signal: AbortSignal,
  ): Promise<Iterable<Uint8Array> | undefined> {
    const { key, offset, bytes } = stored!;
    const known = this.#packs.get(key);
    const pack = known ?? this.#fetch(key, sizeBytes, signal);
    this.#packs.delete(key);
    this.#packs.set(key, pack); // the newest
    for (const oldest of this.#packs.keys()) {
      if (this.#packs.size <= PACKS) break;
      this.#packs.delete(oldest);
    }
    try {
      const content = await pack;
      return content && [content.subarray(offset, offset + bytes)];
    } catch (error) {
      this.#packs.delete(key);
      throw error;
    }
  }

  clear(): void {
    this.#packs.clear();
  }

  async #fetch(key: string, sizeBytes: number, signal: AbortSignal): Promise<Buffer | undefined> {
    const compressedBytes = this.#compressed[key];
    const whole = { key, contentBytes: sizeBytes, compressedBytes, offset: 0, length: sizeBytes };
    const chunks = await readObject(this.#store, whole, signal);
    if (chunks === undefined) return undefined;
    const pack = Buffer.allocUnsafe(sizeBytes);
    let position = 0;
    for await (const chunk of chunks) {
      if (position + chunk.byteLength > sizeBytes) break;
      pack.set(chunk, position);
      position += chunk.byteLength;
    }
    return pack.subarray(0, position);
  }
}
