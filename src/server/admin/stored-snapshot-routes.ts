import { join } from 'node:path';
import { Readable } from 'node:stream';
import * as z from 'zod';
import { MANIFEST } from '../../engine/engine.ts';
import type { FileStat, OpenFile } from '../../env/file-system.ts';
import type { HeldLock } from '../../env/lock.ts';
import { StillpointError } from '../../errors.ts';
import type { Environment } from '../../snapshot/environment.ts';
import { lockForReading } from '../../snapshot/source/folder-source.ts';
import { placeOf } from '../../snapshot/store/layout.ts';
import type { ManifestEntry, ParsedManifest } from '../../snapshot/store/manifest.ts';
import { readManifest } from '../../snapshot/store/manifest-file.ts';
import { refuseWhenClosing, type ServerContext } from '../assemble-server.ts';
import { findStored } from '../find-stored.ts';
import { type App, content, replies } from '../route-types.ts';
import { fileParamsSchema, nameParamsSchema } from './schemas.ts';

const BINARY = 'application/octet-stream';
const CHUNK_BYTES = 256 * 1024;

/** The bytes of a published snapshot, for whoever takes a copy of it elsewhere. Nothing deletes it while it is read. */
export function storedSnapshotRoutes(app: App, parts: ServerContext): void {
  const { environment } = parts;
  const manifests = new ManifestCache(environment);
  const open = async (name: string): Promise<{ location: string; lock: HeldLock }> => {
    refuseWhenClosing(parts);
    const location = await findStored(parts, name);
    const lock = await lockForReading(environment, location);
    if (lock !== undefined) return { location, lock };
    throw new StillpointError('MANIFEST_INVALID', `the snapshot ${name} has no manifest`, { path: location });
  };

  app.get(
    '/api/admin/backups/:name/manifest',
    {
      schema: {
        summary: 'The manifest of a snapshot, byte for byte',
        params: nameParamsSchema,
        response: replies(content('application/json', z.any(), '`snapshot.manifest`')),
      },
    },
    async ({ params }, reply) => {
      const { location, lock } = await open(params.name);
      const file = await openLocked(environment, join(location, MANIFEST), lock);
      const { sizeBytes } = await file.stat().catch((error) => closing(file, lock, error));
      reply.type('application/json').header('content-length', sizeBytes);
      return reply.send(streamOf(file, 0, sizeBytes, lock) as never);
    },
  );

  app.get(
    '/api/admin/backups/:name/files/:path',
    {
      schema: {
        summary: 'A file of a snapshot',
        description:
          'The path is an entry of the manifest, its slashes as `%2F`. One range of bytes may be asked for (`Range: bytes=a-b`); with `If-Range` and another `ETag` the whole file is answered.',
        params: fileParamsSchema,
        response: {
          ...replies(content(BINARY, z.any(), 'The file, byte for byte')),
          206: content(BINARY, z.any(), 'The bytes that were asked for'),
        },
      },
    },
    async ({ params, headers }, reply) => {
      const { location, lock } = await open(params.name);
      const found = await findEntry(manifests, location, params.path).catch((error) =>
        releasing(lock, error),
      );
      const file = await openLocked(environment, placeOf(location, params.path), lock);
      try {
        const { kind, sizeBytes } = await file.stat();
        if (kind !== 'file' || sizeBytes !== found.entry.size) {
          const message = `${params.path} has ${sizeBytes} bytes, and its manifest says ${found.entry.size}`;
          throw new StillpointError('COPY_DAMAGED', message, { path: file.path });
        }
        const etag = `"${found.id}-${sizeBytes}-${found.entry.crc32.toString(16)}"`;
        reply.header('etag', etag).header('accept-ranges', 'bytes');
        const ifRange = headers['if-range'];
        const range =
          ifRange === undefined || ifRange === etag ? rangeOf(headers.range, sizeBytes) : undefined;
        const { from, end } = range ?? { from: 0, end: sizeBytes };
        if (range !== undefined)
          reply.code(206).header('content-range', `bytes ${from}-${end - 1}/${sizeBytes}`);
        reply.type(BINARY).header('content-length', end - from);
        return reply.send(streamOf(file, from, end, lock) as never);
      } catch (error) {
        return closing(file, lock, error);
      }
    },
  );
}

async function findEntry(
  manifests: ManifestCache,
  location: string,
  path: string,
): Promise<{ entry: ManifestEntry; id: string }> {
  const { entries, id } = await manifests.read(location);
  const entry = entries.get(path);
  if (entry !== undefined) return { entry, id };
  throw new StillpointError('NOT_FOUND', `the snapshot has no file ${JSON.stringify(path.slice(0, 200))}`);
}

/** The range that a header asks for; undefined for none, and for several at once, which nobody has to serve. */
function rangeOf(header: string | undefined, size: number): { from: number; end: number } | undefined {
  const match = /^bytes=(\d{1,15})-(\d{0,15})$/.exec(header ?? '');
  if (match === null) return undefined;
  const from = Number(match[1]);
  const end = match[2] === '' ? size : Math.min(size, Number(match[2]) + 1);
  if (from < end) return { from, end };
  throw new StillpointError('RANGE_INVALID', `the file has ${size} bytes`);
}

async function openLocked({ fs }: Environment, path: string, lock: HeldLock): Promise<OpenFile> {
  return fs.open(path, 'read').catch((error) => releasing(lock, error));
}

async function releasing(lock: HeldLock, error: unknown): Promise<never> {
  await lock.release();
  throw error;
}

async function closing(file: OpenFile, lock: HeldLock, error: unknown): Promise<never> {
  await file.close();
  return releasing(lock, error);
}

/**
 * Part of a file as a stream, which closes the file and frees the lock when it ends or its reader leaves, also before the first
 * byte. A file that ends too early breaks the connection: the reader must not take it for whole.
 */
function streamOf(file: OpenFile, from: number, end: number, lock: HeldLock): Readable {
  let at = from;
  let reading = Promise.resolve();
  const stream: Readable = new Readable({
    highWaterMark: CHUNK_BYTES,
    read() {
      reading = push().catch((error) => void stream.destroy(error as Error));
    },
    destroy(error, done) {
      // A file must not be closed beneath a read that is under way.
      const end = reading.then(() => file.close()).finally(() => lock.release());
      end.then(
        () => done(error),
        (failure) => done(error ?? (failure as Error)),
      );
    },
  });
  const push = async () => {
    if (at === end) return void stream.push(null);
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - at));
    const count = await file.read(chunk, at);
    if (count === 0)
      throw new StillpointError('COPY_DAMAGED', `${file.path} ends at byte ${at}`, { path: file.path });
    at += count;
    if (!stream.destroyed) stream.push(chunk.subarray(0, count));
  };
  return stream;
}

interface CachedManifest {
  readonly stat: Pick<FileStat, 'ino' | 'mtimeNs' | 'sizeBytes'>;
  readonly id: string;
  readonly entries: ReadonlyMap<string, ManifestEntry>;
}

const CACHED = 2;

/** A snapshot is fetched file by file: its manifest is not parsed anew for each. A published one never changes. */
class ManifestCache {
  readonly #environment: Environment;
  readonly #cached = new Map<string, CachedManifest>();

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  async read(location: string): Promise<CachedManifest> {
    const path = join(location, MANIFEST);
    const stat = await this.#environment.fs.inspect(path);
    const known = this.#cached.get(location);
    if (
      stat !== undefined &&
      known?.stat.ino === stat.ino &&
      known.stat.mtimeNs === stat.mtimeNs &&
      known.stat.sizeBytes === stat.sizeBytes
    )
      return known;
    const manifest = await readManifest(this.#environment, location);
    if (manifest === undefined || stat === undefined)
      throw new StillpointError('MANIFEST_INVALID', `${path} is gone`, { path });
    const read = {
      stat,
      id: idOf(manifest),
      entries: new Map(manifest.entries.map((entry) => [entry.path, entry])),
    };
    this.#cached.delete(location);
    this.#cached.set(location, read);
    for (const other of this.#cached.keys()) {
      if (this.#cached.size <= CACHED) break;
      this.#cached.delete(other);
    }
    return read;
  }
}

/** For the ETag, which may not have quotes in it. */
const idOf = ({ snapshot }: ParsedManifest): string => (snapshot?.id ?? 'foreign').replace(/[^\w-]/g, '_');
