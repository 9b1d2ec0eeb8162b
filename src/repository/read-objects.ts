import { createHash } from 'node:crypto';
import { ByteStream } from '../env/byte-stream.ts';
import { mapConcurrent } from '../env/concurrency.ts';
import type { StoredFile, StoredFiles } from './backup-manifest.ts';
import type { StoreBackups } from './store-backups.ts';
import { damageIn, readObject } from './stored-objects.ts';

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
  readonly manifest: StoredFiles;
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
  await mapConcurrent(objects, READS_AT_ONCE, ([key, segments]) =>
    readSegments(store, key, segments, request),
  );
}

const bytesOf = (segments: readonly Segment[]): number => segments.reduce((sum, { bytes }) => sum + bytes, 0);

function segmentsByKey({ files }: StoredFiles): Map<string, Segment[]> {
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

async function readSegments(
  store: StoreBackups,
  key: string,
  segments: readonly Segment[],
  { manifest, signal, open, onBytes, onDamage }: ReadRequest,
): Promise<void> {
  const all = segments.flatMap(({ files }) => files);
  const { offset } = segments[0]!;
  const last = segments.at(-1)!;
  const end = last.offset + last.bytes;
  const contentBytes = manifest.packs[key] ?? end;
  const compressedBytes = manifest.compressed[key];
  const range = { key, contentBytes, compressedBytes, offset, length: end - offset };
  const chunks = await readObject(store, range, signal);
  if (chunks === undefined) return onDamage({ key, files: all, message: 'is missing' });
  const stream = new ChunkStream(chunks, offset);
  let at = 0;
  try {
    for (; at < segments.length; at++) {
      const segment = segments[at]!;
      const { files } = segment;
      if (segment.offset < stream.position) {
        onDamage({ key, files, message: 'holds segments that overlap' });
        continue;
      }
      if (!(await readSegment(stream, segment, open, onBytes)))
        onDamage({ key, files, message: 'does not hold what was uploaded' });
    }
  } catch (error) {
    const message = damageIn(error, key);
    if (message === undefined) throw error;
    // Nothing behind it can be read in this go; those files count as damaged, too.
    onDamage({ key, files: segments.slice(at).flatMap(({ files }) => files), message });
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
      const chunk = await stream.next(left);
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

/** Chunks as they come, and how far they have been taken. */
class ChunkStream extends ByteStream {
  position: number;

  constructor(chunks: AsyncIterable<Uint8Array>, position: number) {
    super(chunks);
    this.position = position;
  }

  override async next(limit: number): Promise<Uint8Array | undefined> {
    const taken = await super.next(limit);
    this.position += taken?.byteLength ?? 0;
    return taken;
  }

  async skipTo(position: number): Promise<void> {
    while (this.position < position) {
      if ((await this.next(position - this.position)) === undefined) return;
    }
  }
}
