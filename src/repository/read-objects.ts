import { createHash } from 'node:crypto';
import { mapConcurrent } from '../env/concurrency.ts';
import { StillpointError } from '../errors.ts';
import type { BackupManifest, StoredFile } from './backup-manifest.ts';
import type { StoreBackups } from './store-backups.ts';

const READS_AT_ONCE = 4;

/** The stored bytes of one content, and the files that have it. */
export interface Segment {
  readonly key: string;
  readonly offset: number;
  readonly bytes: number;
  readonly sha256: string;
  readonly files: readonly StoredFile[];
}

/** Takes in the bytes of a segment. */
export interface SegmentSink {
  write(chunk: Uint8Array): Promise<void>;
  /** All bytes have come, and they are what the manifest says. */
  done(): Promise<void>;
  /** In every case, and last. */
  close(): Promise<void>;
}

export interface ReadRequest {
  readonly manifest: BackupManifest;
  readonly signal: AbortSignal;
  /** What becomes of a segment's bytes. */
  open(segment: Segment): Promise<SegmentSink>;
  /** Called for each chunk that has come; may throw to end it all. */
  onBytes(count: number): void;
  /** Something is wrong with these files: throw to end it all, or take note and return. */
  onDamage(damage: ObjectDamage): void;
}

export interface ObjectDamage {
  readonly key: string;
  readonly files: readonly StoredFile[];
  readonly message: string;
}

/** Reads every object of a backup once, several at a time, and holds each segment against its SHA-256. */
export async function readObjects(store: StoreBackups, request: ReadRequest): Promise<void> {
  const objects = [...segmentsByKey(request.manifest)];
  objects.sort(([, a], [, b]) => bytesOf(b) - bytesOf(a));
  await mapConcurrent(objects, READS_AT_ONCE, ([key, segments]) => readObject(store, key, segments, request));
}

const bytesOf = (segments: readonly Segment[]): number => segments.reduce((sum, { bytes }) => sum + bytes, 0);

function segmentsByKey({ files }: BackupManifest): Map<string, Segment[]> {
  const segments = new Map<string, Segment & { files: StoredFile[] }>();
  for (const file of files) {
    if (file.stored === undefined) continue;
    const { key, offset, bytes } = file.stored;
    const name = `${key} ${offset} ${bytes} ${file.sha256}`;
    const known = segments.get(name);
    if (known !== undefined) known.files.push(file);
    else segments.set(name, { key, offset, bytes, sha256: file.sha256, files: [file] });
  }
  const objects = new Map<string, Segment[]>();
  for (const segment of segments.values()) {
    const others = objects.get(segment.key) ?? [];
    objects.set(segment.key, others);
    others.push(segment);
  }
  for (const list of objects.values()) list.sort((a, b) => a.offset - b.offset);
  return objects;
}

async function readObject(
  { destination }: StoreBackups,
  key: string,
  segments: readonly Segment[],
  { signal, open, onBytes, onDamage }: ReadRequest,
): Promise<void> {
  const all = segments.flatMap(({ files }) => files);
  const { offset } = segments[0]!;
  const last = segments.at(-1)!;
  const range = { offset, length: last.offset + last.bytes - offset };
  const chunks = await destination.get(key, { range, signal });
  if (chunks === undefined) return onDamage({ key, files: all, message: 'is missing' });
  const stream = new ChunkStream(chunks, offset);
  try {
    for (const segment of segments) {
      const { files } = segment;
      if (segment.offset < stream.position) {
        onDamage({ key, files, message: 'holds segments that overlap' });
        continue;
      }
      if (!(await readSegment(stream, segment, open, onBytes)))
        onDamage({ key, files, message: 'does not hold what was uploaded' });
    }
  } finally {
    await stream.close();
  }
}

/** False when the bytes are not those that the manifest names. */
async function readSegment(
  stream: ChunkStream,
  segment: Segment,
  open: ReadRequest['open'],
  onBytes: ReadRequest['onBytes'],
): Promise<boolean> {
  await stream.skipTo(segment.offset);
  const sink = await open(segment);
  try {
    const hash = createHash('sha256');
    let left = segment.bytes;
    while (left > 0) {
      const chunk = await stream.take(left);
      if (chunk === undefined) return false; // it is shorter than it should be
      onBytes(chunk.byteLength);
      hash.update(chunk);
      await sink.write(chunk);
      left -= chunk.byteLength;
    }
    if (hash.digest('hex') !== segment.sha256) return false;
    await sink.done();
    return true;
  } finally {
    await sink.close();
  }
}

/** Takes chunks as they come and hands them out in the sizes that are wanted. */
class ChunkStream {
  position: number;
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>, position: number) {
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.position = position;
  }

  /** Up to so many bytes, at least one; undefined at the end. */
  async take(limit: number): Promise<Uint8Array | undefined> {
    while (this.#rest.byteLength === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) return undefined;
      this.#rest = next.value;
    }
    const taken = this.#rest.subarray(0, limit);
    this.#rest = this.#rest.subarray(taken.byteLength);
    this.position += taken.byteLength;
    return taken;
  }

  async skipTo(position: number): Promise<void> {
    while (this.position < position) {
      if ((await this.take(position - this.position)) === undefined) return;
    }
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

export const damaged = ({ key, message }: ObjectDamage): StillpointError =>
  new StillpointError('BACKUP_DAMAGED', `${key} ${message}`, { path: key });
