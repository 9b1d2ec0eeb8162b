import * as z from 'zod';
import { LIFECYCLE, MANIFEST } from '../../engine/engine.ts';
import { problemsOf } from '../../env/durable-json.ts';
import { StillpointError } from '../../errors.ts';
import { crc32 } from '../../format/crc32.ts';
import type { Summed } from '../../format/sums.ts';
import { LEVELS, MODES } from '../../options/choices.ts';
import { countNames, measureJson } from './json-shape.ts';

/**
 * `snapshot.manifest`: every file of a snapshot with size and CRC-32. Readers of the first server can still read it: `version` stays 1
 * and `entries` carry `path`, `size` and `crc32`; our fields are added. It is untrusted input.
 */

/** Enough for `FILES_LIMIT` files with names of usual length; more is refused before it is read. */
export const MANIFEST_LIMIT_BYTES = 64 * 1024 * 1024;
export const FILES_LIMIT = 400_000;
const PATH_LIMIT_BYTES = 4096;
/**
 * Enough for a manifest of the largest size that is full of the shortest possible entries, or of our own. With more, the parsed text
 * would take many times its size in memory.
 */
const LIMITS = { depth: 16, containers: 2 ** 21, names: 2 ** 22, members: 1000, values: 2 ** 23 };

const u32 = z.number().int().min(0).max(0xffffffff);
const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const decimalU64 = z.string().regex(/^\d{1,20}$/);

const entrySchema = z.object({
  path: z.string().min(1),
  size: count,
  crc32: u32,
  /**
   * CRC-32C. Files that hold CRCs of their own parts, as an lsm log does, can differ and have the same CRC-32: a part
   * followed by its CRC adds the same to that of the whole, whatever the part says. To another polynomial it does not.
   */
  crc32c: u32.optional(),
  kind: z.enum(['immutable', 'image', 'bytes']).optional(),
  /** Identity of the source file: the next snapshot sees by it that the file has not changed. */
  source: z.object({ ino: decimalU64, mtime_ns: z.string().regex(/^-?\d{1,20}$/) }).optional(),
  /** Shares its blocks with the database's file: a copy-on-write clone. */
  cloned: z.literal(true).optional(),
  /** When the file was proven, if it is shared with an earlier snapshot and was not read again. */
  proven_at_ms: count.optional(),
});

const snapshotSchema = z.object({
  id: z.string().min(1).max(100),
  sequence: count,
  created_at_ms: count,
  engine: z.string().min(1).max(50),
  tool: z.string().max(100),
  parent: z.string().max(100).optional(),
  checkpoint: z.object({ lsn: decimalU64 }).optional(),
  total_bytes: count,
  /** How deep the proof went before the snapshot was published. */
  level: z.enum(LEVELS).optional(),
  /** Whether it may share files with the database. Absent in those of earlier versions. */
  mode: z.enum(MODES).optional(),
});

/** Entries are parsed one by one and the first bad one is reported: nobody needs a list of a million. */
const manifestSchema = z.object({
  version: z.literal(1),
  entries: z.array(z.unknown()),
  snapshot: snapshotSchema.optional(),
  manifest_crc32: u32.optional(),
});

const parsedSchema = manifestSchema
  .omit({ manifest_crc32: true })
  .extend({ sealed: z.boolean(), rewritten: z.boolean() });

export type ManifestEntry = z.infer<typeof entrySchema>;
export type SnapshotInfo = z.infer<typeof snapshotSchema>;
export interface Manifest {
  readonly version: 1;
  readonly entries: readonly ManifestEntry[];
  readonly snapshot?: SnapshotInfo | undefined;
}
export interface ParsedManifest extends Manifest {
  /** Whether it carries a checksum of itself that holds. False for a manifest of another tool. */
  readonly sealed: boolean;
  /**
   * Sealed, but not byte for byte what was written: white space changed. It still says the same, and somebody has edited it.
   */
  readonly rewritten: boolean;
}

/** The bytes of a manifest, sealed: `manifest_crc32` covers the compact JSON of all else with sorted keys. */
export function encodeManifest(manifest: Manifest): Buffer {
  const entries = [...manifest.entries].sort((a, b) => comparePaths(a.path, b.path));
  const hint = 'Rename that file, or move it out: a snapshot can be restored on every system.';
  checkPaths(entries, (message) => new StillpointError('UNSUPPORTED_FILE', message, { hint }));
  const { version, snapshot } = manifest;
  const body = { version, entries, ...(snapshot === undefined ? {} : { snapshot }) };
  const bytes = Buffer.from(textOf({ ...body, manifest_crc32: sealOf(body) }));
  if (bytes.byteLength > MANIFEST_LIMIT_BYTES) throw tooManyFiles(`${entries.length} files`, entries.length);
  return bytes;
}

/** `UNSUPPORTED_FILE` for more files than a snapshot may have, before anything is done with them. */
export function requireRoomFor(files: number, dir: string): void {
  if (files > FILES_LIMIT) throw tooManyFiles(`${dir}: ${files} files`, files);
}

const tooManyFiles = (what: string, files: number) =>
  new StillpointError('UNSUPPORTED_FILE', `${what} are more than one snapshot can hold`, {
    data: { files, limit: FILES_LIMIT },
    hint: `A snapshot holds up to ${FILES_LIMIT} files, fewer with long names. Make it fewer and larger ones: compact the database, or let it write larger tables.`,
  });

/** Reads a manifest; `MANIFEST_INVALID` says what is wrong. `path` is where the bytes came from. */
export function decodeManifest(bytes: Uint8Array, path: string): ParsedManifest {
  const refuse = (message: string, cause?: unknown) =>
    new StillpointError('MANIFEST_INVALID', `${path}: ${message}`, {
      path,
      ...(cause === undefined ? {} : { cause }),
    });
  const shape = measureJson(bytes);
  for (const [what, limit] of Object.entries(LIMITS)) {
    const count = shape[what as keyof typeof LIMITS];
    if (count > limit) throw refuse(`is no manifest: it has ${what} ${count}, and ${limit} are possible`);
  }
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    json = JSON.parse(text);
  } catch (cause) {
    throw refuse('is not JSON', cause);
  }
  if (countNames(json) !== shape.names) throw refuse('has an object in which a name stands twice');
  const version = (json as { version?: unknown } | null)?.version;
  if (typeof version === 'number' && version !== 1)
    throw refuse(`has version ${version}, and only 1 is known`);
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success) throw refuse(problemsOf(parsed.error));
  const { manifest_crc32: seal, snapshot } = parsed.data;
  const entries = parsed.data.entries.map((item, index) => {
    const entry = entrySchema.safeParse(item);
    if (!entry.success) throw refuse(`entry ${index}: ${problemsOf(entry.error)}`);
    return entry.data;
  });
  checkPaths(entries, refuse);
  const manifest = { version: 1 as const, entries, ...(snapshot === undefined ? {} : { snapshot }) };
  if (seal === undefined) {
    // Only our manifests have the block `snapshot`, and ours are always sealed.
    if (snapshot !== undefined) throw refuse('has lost its checksum of itself (manifest_crc32)');
    return { ...manifest, sealed: false, rewritten: false };
  }
  // The seal covers unknown fields, too.
  const { manifest_crc32: _, ...body } = json as Record<string, unknown>;
  if (sealOf(body) !== seal) throw refuse('does not match its own checksum (manifest_crc32)');
  if (entries.some((entry, i) => i > 0 && comparePaths(entries[i - 1]!.path, entry.path) >= 0))
    throw refuse('its entries are not sorted by path');
  return { ...manifest, sealed: true, rewritten: text !== textOf(json) };
}

/** Why a value that was not decoded here is no manifest, or undefined when it is one. Paths are not checked. */
export function manifestProblem(value: unknown): string | undefined {
  const parsed = parsedSchema.safeParse(value);
  if (!parsed.success) return problemsOf(parsed.error);
  for (const [index, item] of parsed.data.entries.entries()) {
    const entry = entrySchema.safeParse(item);
    if (!entry.success) return `entry ${index}: ${problemsOf(entry.error)}`;
  }
  return undefined;
}

const textOf = (json: unknown): string => `${JSON.stringify(json, undefined, 1)}\n`;

/** Bytewise, as the manifest is sorted: UTF-16 order of JavaScript differs from it. */
export const comparePaths = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** Why `path` may not stand in a manifest, or undefined when it may. */
export function pathProblem(path: string): string | undefined {
  if (Buffer.byteLength(path) > PATH_LIMIT_BYTES) return 'is too long';
  // A lone surrogate has no UTF-8 bytes: two such names would be one on disk.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a NUL is what must be found
  if (/[\\\u0000\ufffd\p{Surrogate}]/u.test(path)) return 'has a character that not every system can store';
  if (path.startsWith('/')) return 'is absolute';
  if (/^[A-Za-z]:/.test(path)) return 'begins like the name of a drive: on Windows it is absolute';
  if (/(?:^|\/)\.{0,2}(?:\/|$)/.test(path)) return 'has an empty, "." or ".." part';
  const top = path.slice(0, path.indexOf('/') === -1 ? path.length : path.indexOf('/')).toLowerCase();
  if (top === LIFECYCLE) return `lies in ${LIFECYCLE}`;
  if (top === MANIFEST) return 'takes the place of the manifest itself';
  return undefined;
}

/** Throws what `refuse` returns if a path may not stand in a manifest, or two of them cannot both exist on disk. */
export function checkPaths(
  entries: readonly Pick<ManifestEntry, 'path'>[],
  refuse: (message: string) => Error,
): void {
  // Where names that differ only in case are one file, creating the second fails.
  const sorted: { key: string; path: string }[] = [];
  for (const { path } of entries) {
    const problem = pathProblem(path);
    if (problem !== undefined) throw refuse(`the path ${JSON.stringify(path.slice(0, 200))} ${problem}`);
    // With NUL for the slash, a file sorts next to whatever claims to lie in it.
    sorted.push({ key: path.split('/').join('\0'), path });
  }
  sorted.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  for (const [i, { key, path }] of sorted.entries()) {
    const next = sorted[i + 1];
    if (next === undefined) break;
    if (next.path === path) throw refuse(`the path ${JSON.stringify(path)} stands there twice`);
    if (next.key.startsWith(`${key}\0`))
      throw refuse(`the path ${JSON.stringify(path)} is a file and a folder at once`);
  }
}

const sealOf = (body: unknown): number => crc32(Buffer.from(JSON.stringify(sortKeys(body))));

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== 'object' || value === null) return value;
  const record = value as Record<string, unknown>;
  return Object.fromEntries(
    Object.keys(record)
      .sort()
      .map((key) => [key, sortKeys(record[key])]),
  );
}

/** Size and checksums as an entry has them. */
export const sumsOf = ({ sizeBytes, ...sums }: Summed) => ({
  size: sizeBytes,
  crc32: sums.crc32,
  ...(sums.crc32c !== undefined && { crc32c: sums.crc32c }),
});
