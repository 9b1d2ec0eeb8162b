import { createHash } from 'node:crypto';
import * as z from 'zod';
import { decodeJson, problemsOf, type Refuse } from '../env/durable-json.ts';
import { isUlid } from '../env/ulid.ts';
import { StillpointError } from '../errors.ts';
import { crc32 } from '../format/crc32.ts';
import { measureJson } from '../snapshot/store/json-shape.ts';
import { decodeManifest, MANIFEST_LIMIT_BYTES, type ParsedManifest } from '../snapshot/store/manifest.ts';
import { isObjectKey, isPackKey, manifestKey, PACK_LIMIT_BYTES } from './layout.ts';
import { sealedBytes } from './sealing/seal.ts';
import type { Place, Sealer } from './sealing/sealer.ts';

/**
 * The manifest of a backup: two lines of JSON. The first is a small header (ids, time, checksums of both lines), the second says
 * where each file of the snapshot lies. It carries the snapshot's own manifest byte for byte. It is untrusted input. Where the
 * repository is encrypted, the second line is no line but sealed bytes.
 */

/** When written and when read alike. */
export const BACKUP_MANIFEST_LIMIT_BYTES = 256 * 1024 * 1024;
/** Enough for the largest snapshot, and about a million ranges. With more, the parsed text would take many times its size in memory. */
const LIMITS = { depth: 8, containers: 2 ** 21, names: 2 ** 22, members: 2 ** 20, values: 2 ** 23 };
/** The last moment that a ULID can hold. */
const LAST_TIME_MS = 2 ** 48 - 1;

const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const ulid = z.string().refine(isUlid, 'is no ULID');

const headerSchema = z.object({
  format: z.literal('stillpoint-backup'),
  /** 2 where an object is compressed, which readers of version 1 do not know of. */
  version: z.union([z.literal(1), z.literal(2)]),
  repository_id: ulid,
  store_id: ulid,
  backup_id: ulid,
  created_at_ms: count.max(LAST_TIME_MS),
  /** The data key that the payload is sealed with; absent where it is in clear. */
  key_generation: count.min(1).optional(),
  /** Of the payload as it is stored. */
  payload_bytes: count,
  payload_sha256: sha256,
  /** Of the compact JSON of all else in the header. */
  crc32: count,
});

/** The newest ones are kept. */
const LEFT_BEHIND_LIMIT = 1000;

const fileSchema = z.object({
  path: z.string().min(1),
  /** Of the stored bytes: the file without its holes. */
  sha256,
  /** Absent where the file holds no data at all. */
  stored: z.object({ key: z.string(), offset: count, bytes: count }).optional(),
  /** Where the stored bytes belong in the file, in order: [offset, length]. Absent: they are the whole file. */
  ranges: z.array(z.unknown()).optional(),
});

const rangeSchema = z.tuple([count, count]);

/** Lists are parsed one item at a time, and the first bad one is reported: nobody needs a list of a million. */
const payloadSchema = z.object({
  engine: z.string().min(1).max(50),
  tool: z.string().max(100),
  /** The backup of the same store before this one. */
  previous: ulid.optional(),
  /** How far the database had come, as its engine says it. */
  position: z.unknown().optional(),
  /** Backups that no later state can follow: the database went back after them, or was begun anew. */
  left_behind: z.array(ulid).max(LEFT_BEHIND_LIMIT).optional(),
  /** What is stored of this backup, shared objects included. */
  stored_bytes: count,
  /** `snapshot.manifest`, byte for byte. */
  snapshot_manifest: z.string(),
  files: z.array(z.unknown()),
  /** Sizes of the packs that `files` name. */
  packs: z.record(z.string(), z.unknown()),
  /** Sizes of the objects and packs that are compressed, once they are; absent where none is. */
  compressed: z.record(z.string(), z.unknown()).optional(),
});

export type StoredFile = Omit<z.infer<typeof fileSchema>, 'ranges'> & {
  readonly ranges?: [number, number][] | undefined;
};

export interface BackupManifest {
  readonly repositoryId: string;
  readonly storeId: string;
  readonly backupId: string;
  readonly createdAtMs: number;
  readonly engine: string;
  readonly tool: string;
  readonly previous?: string | undefined;
  readonly position: unknown;
  readonly leftBehind: readonly string[];
  /** Whether it and its objects are sealed. */
  readonly isSealed: boolean;
  readonly storedBytes: number;
  /** As it is on disk in a snapshot, and parsed. */
  readonly snapshotText: string;
  readonly snapshot: ParsedManifest;
  readonly files: readonly StoredFile[];
  readonly packs: Readonly<Record<string, number>>;
  /** Sizes of the objects and packs that are compressed, once they are. */
  readonly compressed: Readonly<Record<string, number>>;
}

/** What tells where files lie, and how. */
export type StoredFiles = Pick<BackupManifest, 'files' | 'packs' | 'compressed'>;

/** @param sealer Needed where the repository is encrypted. Each call seals anew. */
export function encodeBackupManifest(manifest: BackupManifest, sealer?: Sealer): Buffer {
  const { engine, tool, previous, storedBytes, snapshotText, files, packs, compressed } = manifest;
  const leftBehind = manifest.leftBehind.slice(-LEFT_BEHIND_LIMIT);
  const isCompressed = Object.keys(compressed).length > 0;
  const content = Buffer.from(
    JSON.stringify({
      engine,
      tool,
      ...(previous !== undefined && { previous }),
      ...(manifest.position !== undefined && { position: manifest.position }),
      ...(leftBehind.length > 0 && { left_behind: leftBehind }),
      stored_bytes: storedBytes,
      snapshot_manifest: snapshotText,
      files,
      packs,
      ...(isCompressed && { compressed }),
    }),
  );
  const place = placeOf(manifest, manifest.createdAtMs);
  const payload = sealer === undefined ? content : sealer.seal(place, content);
  const header: Omit<z.infer<typeof headerSchema>, 'crc32'> = {
    format: 'stillpoint-backup',
    version: isCompressed ? 2 : 1,
    repository_id: manifest.repositoryId,
    store_id: manifest.storeId,
    backup_id: manifest.backupId,
    created_at_ms: manifest.createdAtMs,
    ...(sealer && { key_generation: sealer.generation }),
    payload_bytes: payload.byteLength,
    payload_sha256: sha256Of(payload),
  };
  const line = JSON.stringify({ ...header, crc32: crc32(Buffer.from(JSON.stringify(header))) });
  const bytes = Buffer.concat([Buffer.from(`${line}\n`), payload, Buffer.from('\n')]);
  if (bytes.byteLength > BACKUP_MANIFEST_LIMIT_BYTES) {
    throw new StillpointError('UNSUPPORTED_FILE', `${files.length} files are more than one backup can hold`);
  }
  const excess = excessOf(content);
  if (excess !== undefined)
    throw new StillpointError('UNSUPPORTED_FILE', `the files are more than one backup can hold: ${excess}`);
  return bytes;
}

type Ids = Pick<BackupManifest, 'repositoryId' | 'storeId' | 'backupId'>;

/** What the seal of a payload is bound to. */
const placeOf = ({ storeId, backupId }: Ids, createdAtMs: number): Place => ({
  key: manifestKey(storeId, backupId),
  with: String(createdAtMs),
});

/** What a parser should not be given, or undefined. */
function excessOf(payload: Uint8Array): string | undefined {
  const shape = measureJson(payload);
  for (const [what, limit] of Object.entries(LIMITS)) {
    const found = shape[what as keyof typeof LIMITS];
    if (found > limit) return `${what} ${found}, and ${limit} are possible`;
  }
  return undefined;
}

const HEADER_LIMIT_BYTES = 4096;

/**
 * Reads a manifest and checks all that can be checked without the objects; `BACKUP_DAMAGED` says what is wrong.
 * @param wanted Where it was found: a manifest that was moved is refused.
 * @param sealer Of an encrypted repository: its manifests are sealed, and no other is accepted.
 */
export function decodeBackupManifest(bytes: Buffer, wanted: Ids, sealer?: Sealer): BackupManifest {
  const key = manifestKey(wanted.storeId, wanted.backupId);
  const refuse = (message: string, cause?: unknown) =>
    new StillpointError('BACKUP_DAMAGED', `${key}: ${message}`, { path: key, cause });
  const end = bytes.subarray(0, HEADER_LIMIT_BYTES).indexOf('\n');
  if (end < 0) throw refuse('has no header');
  const header = parse(headerSchema, bytes.subarray(0, end), refuse);
  const { crc32: sum, ...body } = header;
  if (crc32(Buffer.from(JSON.stringify(body))) !== sum)
    throw refuse('its header does not match its checksum');
  for (const [what, is, should] of [
    ['repository', header.repository_id, wanted.repositoryId],
    ['store', header.store_id, wanted.storeId],
    ['backup', header.backup_id, wanted.backupId],
  ]) {
    if (is !== should) throw refuse(`belongs to ${what} ${is}`);
  }
  const stored = bytes.subarray(end + 1, -1);
  if (stored.byteLength !== header.payload_bytes || bytes.at(-1) !== 0x0a)
    throw refuse('is not as long as its header says');
  if (sha256Of(stored) !== header.payload_sha256) throw refuse('does not match its SHA-256');
  const isSealed = header.key_generation !== undefined;
  if (isSealed !== (sealer !== undefined)) {
    throw refuse(
      isSealed
        ? 'is sealed, and this repository is not encrypted'
        : 'is in clear, and this repository is encrypted',
    );
  }
  const payload = sealer === undefined ? stored : sealer.open(placeOf(wanted, header.created_at_ms), stored);
  const excess = excessOf(payload);
  if (excess !== undefined) throw refuse(`is no manifest: it has ${excess}`);
  const { engine, tool, previous, position, left_behind, stored_bytes, snapshot_manifest, ...lists } = parse(
    payloadSchema,
    payload,
    refuse,
  );
  if (previous !== undefined && previous >= wanted.backupId)
    throw refuse(`names ${previous} as the backup before it`);
  if (snapshot_manifest.length > MANIFEST_LIMIT_BYTES)
    throw refuse('the manifest of its snapshot is too long');
  let snapshot: ParsedManifest;
  try {
    snapshot = decodeManifest(Buffer.from(snapshot_manifest), 'snapshot.manifest');
  } catch (cause) {
    throw refuse('the manifest of its snapshot is damaged', cause);
  }
  if (!snapshot.sealed) throw refuse('the manifest of its snapshot has no checksum of itself');
  if (snapshot.snapshot?.engine !== engine)
    throw refuse(`names another engine than its snapshot: ${JSON.stringify(engine)}`);
  // Before they are parsed: what is too many is not worth it.
  if (lists.files.length !== snapshot.entries.length)
    throw refuse(`names ${lists.files.length} files, and its snapshot has ${snapshot.entries.length}`);
  const packs = decodePacks(wanted.storeId, lists.packs, refuse);
  const files = lists.files.map((item, index) => decodeFile(item, index, refuse));
  checkFiles(wanted.storeId, snapshot, files, packs, refuse);
  if ((lists.compressed !== undefined) !== (header.version === 2))
    throw refuse(`has version ${header.version}, and its objects are of another`);
  const compressed = decodeCompressed(lists.compressed ?? {}, { files, packs }, refuse);
  let objectBytes = 0;
  for (const bytes of objectsOf({ files, packs, compressed, isSealed }).values()) objectBytes += bytes;
  if (stored_bytes !== objectBytes)
    throw refuse(`names ${stored_bytes} stored bytes, and has ${objectBytes}`);
  return {
    ...wanted,
    createdAtMs: header.created_at_ms,
    engine,
    tool,
    previous,
    position,
    leftBehind: left_behind ?? [],
    isSealed,
    storedBytes: stored_bytes,
    snapshotText: snapshot_manifest,
    snapshot,
    files,
    packs,
    compressed,
  };
}

/** Strict about the text: bytes that are no UTF-8 would else be replaced without a word. */
function parse<T>(schema: z.ZodType<T>, bytes: Uint8Array, refuse: Refuse): T {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw refuse('is not text', cause);
  }
  return decodeJson(text, schema, refuse);
}

function decodePacks(
  storeId: string,
  packs: Readonly<Record<string, unknown>>,
  refuse: Refuse,
): Record<string, number> {
  for (const [key, bytes] of Object.entries(packs)) {
    const about = JSON.stringify(key.slice(0, 200));
    if (!isPackKey(storeId, key)) throw refuse(`names a pack ${about}`);
    if (!count.safeParse(bytes).success || bytes === 0 || (bytes as number) > PACK_LIMIT_BYTES)
      throw refuse(`names a pack ${about} with a size that no pack has`);
  }
  return packs as Record<string, number>;
}

/** What is compressed is smaller than its content: nothing else was ever stored so. */
function decodeCompressed(
  compressed: Readonly<Record<string, unknown>>,
  stored: Pick<BackupManifest, 'files' | 'packs'>,
  refuse: Refuse,
): Record<string, number> {
  const contents = contentsOf(stored);
  for (const [key, bytes] of Object.entries(compressed)) {
    const about = JSON.stringify(key.slice(0, 200));
    const contentBytes = contents.get(key);
    if (contentBytes === undefined) throw refuse(`says that ${about} is compressed, and no file lies there`);
    if (!count.safeParse(bytes).success || bytes === 0 || (bytes as number) >= contentBytes)
      throw refuse(`says that ${about} is compressed to a size that is none`);
  }
  return compressed as Record<string, number>;
}

function decodeFile(item: unknown, index: number, refuse: Refuse): StoredFile {
  const file = fileSchema.safeParse(item);
  if (!file.success) throw refuse(`file ${index}: ${problemsOf(file.error)}`);
  for (const range of file.data.ranges ?? []) {
    const parsed = rangeSchema.safeParse(range);
    if (!parsed.success) throw refuse(`file ${index}: ranges: ${problemsOf(parsed.error)}`);
  }
  return file.data as StoredFile;
}

/** Every file of the snapshot once, in its order, with as many bytes as it has; nothing outside of this store. */
function checkFiles(
  storeId: string,
  snapshot: ParsedManifest,
  files: readonly StoredFile[],
  packs: Readonly<Record<string, number>>,
  refuse: Refuse,
): void {
  const sizes = new Map<string, number>();
  for (const [i, { path, stored, ranges }] of files.entries()) {
    const entry = snapshot.entries[i]!;
    const about = JSON.stringify(path.slice(0, 200));
    if (path !== entry.path) throw refuse(`names ${about} where its snapshot has another file`);
    let end = 0;
    let bytes = ranges === undefined ? entry.size : 0;
    for (const [offset, length] of ranges ?? []) {
      if (offset < end || length === 0 || offset + length > entry.size)
        throw refuse(`the ranges of ${about} overlap or leave the file`);
      end = offset + length;
      bytes += length;
    }
    if ((stored?.bytes ?? 0) !== bytes || (stored !== undefined && bytes === 0))
      throw refuse(`stores ${stored?.bytes ?? 0} bytes of ${about}, and it has ${bytes}`);
    if (stored === undefined) continue;
    const pack = Object.hasOwn(packs, stored.key) ? packs[stored.key]! : undefined;
    if (pack === undefined && !isObjectKey(storeId, stored.key))
      throw refuse(`${about} lies in ${JSON.stringify(stored.key.slice(0, 200))}`);
    const size = pack ?? sizes.get(stored.key) ?? stored.bytes;
    sizes.set(stored.key, size);
    const isWithin = stored.offset + stored.bytes <= size && (pack !== undefined || stored.bytes === size);
    if (!isWithin || (pack === undefined && stored.offset !== 0))
      throw refuse(`${about} does not lie within ${stored.key}`);
  }
}

const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** The size that an object has in the destination. */
export const storedBytesOf = (bytes: number, isSealed: boolean): number =>
  isSealed ? sealedBytes(bytes) : bytes;

/** Every object that the backup needs, with the size that it has in the destination. */
export function objectsOf({
  compressed,
  isSealed,
  ...stored
}: StoredFiles & Pick<BackupManifest, 'isSealed'>): Map<string, number> {
  const objects = contentsOf(stored);
  for (const [key, bytes] of objects) objects.set(key, storedBytesOf(compressed[key] ?? bytes, isSealed));
  return objects;
}

/** Every object, with the size of its content. */
function contentsOf({ files, packs }: Pick<BackupManifest, 'files' | 'packs'>): Map<string, number> {
  const contents = new Map<string, number>(Object.entries(packs));
  for (const { stored } of files) {
    if (stored !== undefined && !contents.has(stored.key)) contents.set(stored.key, stored.bytes);
  }
  return contents;
}
