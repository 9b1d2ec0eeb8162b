import { dirname, join } from 'node:path';
import { MANIFEST } from '../../engine/engine.ts';
import { mapConcurrent } from '../../env/concurrency.ts';
import type { FileSystem, OpenFile } from '../../env/file-system.ts';
import { walk } from '../../env/folder-tree.ts';
import {
  createFile,
  makeFolders,
  readFully,
  removeIfPresent,
  removeTree,
  withFile,
  writeFully,
} from '../../env/io.ts';
import { withTimeLimit } from '../../env/time-limit.ts';
import { StillpointError } from '../../errors.ts';
import { Sums } from '../../format/sums.ts';
import { size } from '../../options/size.ts';
import type { AdminClient } from '../../rpc/client.ts';
import { placeOf } from '../../snapshot/store/layout.ts';
import { decodeManifest, type ManifestEntry } from '../../snapshot/store/manifest.ts';

export interface DownloadRequest {
  readonly fs: FileSystem;
  readonly client: AdminClient;
  /** The snapshot's name on the node, and its id, which its manifest must have. */
  readonly name: string;
  readonly snapshotId: string;
  /** An existing folder; whole files of an earlier attempt in it are kept, and begun ones continued. */
  readonly into: string;
  readonly signal: AbortSignal;
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
}

const FILES_AT_ONCE = 4;
const ATTEMPTS = 4;
/** Nobody's file takes longer than this: a node must not keep a run for ever by sending a byte now and then. */
const LEAST_BYTES_PER_SECOND = 16 * 1024;
const GRACE_MS = 60 * 1000;
const READ_BYTES = 256 * 1024;

/**
 * Copies a snapshot from a node into a folder: every file that the node's sealed manifest names, with that size and those checksums,
 * and nothing else. The node is not trusted: `NODE_REPLY_INVALID` or `MANIFEST_INVALID` for what it should not say, `COPY_DAMAGED` for
 * bytes that are not those of the manifest, `NO_SPACE` before anything is written.
 */
export async function downloadFromNode(request: DownloadRequest): Promise<{ bytes: number; files: number }> {
  const { fs, client, name, snapshotId, into, signal } = request;
  const bytes = await client.manifest(name, signal);
  const manifest = decodeManifest(bytes, `the manifest of ${name}`);
  const refuse = (why: string) => new StillpointError('NODE_REPLY_INVALID', `the manifest of ${name} ${why}`);
  if (!manifest.sealed || manifest.rewritten) throw refuse('is not sealed');
  if (manifest.snapshot?.id !== snapshotId)
    throw refuse(`is that of snapshot ${manifest.snapshot?.id}, not ${snapshotId}`);
  const { entries } = manifest;
  const total = entries.reduce((sum, entry) => sum + entry.size, 0);
  const free = await fs.freeBytes(into);
  if (total > free)
    throw new StillpointError(
      'NO_SPACE',
      `the snapshot has ${size(total)}, and ${size(free)} are free on the disk of ${into}`,
      { path: into },
    );
  await removeOthers(fs, into, entries);
  for (const { path } of entries) await makeFolders(fs, dirname(placeOf(into, path)));
  let done = 0;
  await mapConcurrent(entries, FILES_AT_ONCE, async (entry) => {
    await downloadFile(request, entry, (count) => {
      done += count;
      request.onProgress?.(done, total);
    });
  });
  await removeIfPresent(fs, join(into, MANIFEST));
  await createFile(fs, join(into, MANIFEST), bytes);
  return { bytes: total, files: entries.length };
}

/** What an earlier attempt left and the manifest does not name, or names as something else. */
async function removeOthers(fs: FileSystem, into: string, entries: readonly ManifestEntry[]): Promise<void> {
  const named = new Set(entries.map(({ path }) => path));
  const strangers: string[] = [];
  for await (const { path, kind } of walk(fs, into)) {
    if (kind === 'file' ? !named.has(path) : kind !== 'folder' || named.has(path)) strangers.push(path);
  }
  for (const path of strangers) await removeTree(fs, placeOf(into, path));
}

async function downloadFile(
  request: DownloadRequest,
  entry: ManifestEntry,
  onBytes: (count: number) => void,
): Promise<void> {
  const { fs, into, signal } = request;
  const place = placeOf(into, entry.path);
  let etag: string | undefined;
  let failure: unknown;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    signal.throwIfAborted();
    const isWhole = await withFile(fs, place, 'open-or-create', async (file) => {
      const sums = new Sums(entry.crc32c !== undefined);
      await addStored(file, sums, entry.size);
      try {
        if (sums.sizeBytes < entry.size)
          etag = await withTimeLimit(limitMs(entry), signal, (limited) =>
            fetchRest(request, limited, entry, file, sums, etag, onBytes),
          );
        else onBytes(0);
      } catch (error) {
        if (!isPassing(error)) throw error;
        failure = error;
        return false;
      }
      if (isAsSaid(sums, entry)) {
        await file.truncate(entry.size); // what was zero at its end was not written
        return true;
      }
      await file.truncate(0); // damaged on its way, or what was there before was something else
      failure = new StillpointError(
        'COPY_DAMAGED',
        `${entry.path} arrived with other checksums than its manifest says`,
        { path: place },
      );
      return false;
    });
    if (isWhole) return;
  }
  throw failure;
}

/** Worth another attempt, from where this one ended. */
const isPassing = (error: unknown): boolean =>
  error instanceof StillpointError && (error.code === 'NODE_UNREACHABLE' || error.code === 'UNAVAILABLE');

const isAsSaid = (sums: Sums, { size, crc32, crc32c }: ManifestEntry): boolean =>
  sums.sizeBytes === size && sums.crc32 === crc32 && (crc32c === undefined || sums.crc32c === crc32c);

async function addStored(file: OpenFile, sums: Sums, limit: number): Promise<void> {
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  while (sums.sizeBytes < limit) {
    const count = await readFully(
      file,
      buffer.subarray(0, Math.min(READ_BYTES, limit - sums.sizeBytes)),
      sums.sizeBytes,
    );
    if (count === 0) return;
    sums.add(buffer.subarray(0, count));
  }
}

/** So long one attempt may take. */
const limitMs = ({ size }: ManifestEntry): number =>
  GRACE_MS + Math.ceil((1000 * size) / LEAST_BYTES_PER_SECOND);

/** Resolves to the file's ETag, for the next attempt. */
async function fetchRest(
  { client, name, signal }: DownloadRequest,
  limited: AbortSignal,
  entry: ManifestEntry,
  file: OpenFile,
  sums: Sums,
  etag: string | undefined,
  onBytes: (count: number) => void,
): Promise<string | undefined> {
  // A published snapshot never changes, so the rest of a file belongs to what is here already; its checksums tell at the end.
  const reply = await client.file(name, entry.path, { from: sums.sizeBytes, etag, signal: limited });
  let skip = sums.sizeBytes - reply.from; // the whole file came: what is here already goes by
  try {
    for await (const part of reply.stream as AsyncIterable<Buffer>) {
      const chunk = part.subarray(Math.min(skip, part.byteLength));
      skip -= part.byteLength - chunk.byteLength;
      if (chunk.byteLength === 0) continue;
      if (sums.sizeBytes + chunk.byteLength > entry.size)
        throw new StillpointError('NODE_REPLY_INVALID', `${entry.path} is longer than its manifest says`);
      const at = sums.sizeBytes;
      const isHole = sums.add(chunk); // the log of an lsm database is almost nothing else
      if (!isHole) await writeFully(file, chunk, at);
      onBytes(chunk.byteLength);
    }
  } catch (error) {
    if (error instanceof StillpointError || signal.aborted) throw error;
    throw new StillpointError('NODE_UNREACHABLE', `${entry.path} was cut off at byte ${sums.sizeBytes}`, {
      cause: error,
    });
  } finally {
    reply.stream.destroy();
  }
  if (sums.sizeBytes < entry.size)
    throw new StillpointError(
      'NODE_UNREACHABLE',
      `${entry.path} ended at byte ${sums.sizeBytes} of ${entry.size}`,
    );
  return reply.etag;
}
