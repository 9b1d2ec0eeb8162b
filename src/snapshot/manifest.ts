import { z } from 'zod';
import { LIFECYCLE, MANIFEST } from '../engine/engine.ts';
import { StillpointError } from '../errors.ts';
import { crc32 } from '../format/crc32.ts';

/**
 * `snapshot.manifest`: every file of a snapshot with size and CRC-32. The first server's readers still read it:
 * `version` stays 1 and `entries` carry `path`, `size` and `crc32`; what is ours is added. It is untrusted input.
 */

/** About 400,000 files; more is refused before it is read. */
export const MANIFEST_LIMIT_BYTES = 64 * 1024 * 1024;
const PATH_LIMIT_BYTES = 4096;

const u32 = z.number().int().min(0).max(0xffffffff);
const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const decimalU64 = z.string().regex(/^\d{1,20}$/);

const entrySchema = z.object({
  path: z.string().min(1),
  size: count,
  crc32: u32,
  kind: z.enum(['immutable', 'image', 'bytes']).optional(),
  /** Which file of the source it was: how the next snapshot knows that it has not changed. */
  source: z.object({ ino: decimalU64, mtime_ns: z.string().regex(/^-?\d{1,20}$/) }).optional(),
  /** Not read again for this snapshot: when the file, shared with an earlier snapshot, was proven. */
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
});

const manifestSchema = z.object({
  version: z.literal(1),
  entries: z.array(entrySchema),
  snapshot: snapshotSchema.optional(),
  manifest_crc32: u32.optional(),
});

export type ManifestEntry = z.infer<typeof entrySchema>;
export type SnapshotInfo = z.infer<typeof snapshotSchema>;
export interface Manifest {
  readonly version: 1;
  readonly entries: readonly ManifestEntry[];
  readonly snapshot?: SnapshotInfo | undefined;
}
export interface ParsedManifest extends Manifest {
  /** Whether it carried a checksum of itself, and that held. False for one that another tool wrote. */
  readonly sealed: boolean;
}

/** The bytes of a manifest, sealed: `manifest_crc32` covers the compact JSON of all else with sorted keys. */
export function encodeManifest(manifest: Manifest): Buffer {
  const entries = [...manifest.entries].sort((a, b) => comparePaths(a.path, b.path));
  checkPaths(entries, (message) => new StillpointError('UNSUPPORTED_FILE', message));
  const { version, snapshot } = manifest;
  const body = { version, entries, ...(snapshot === undefined ? {} : { snapshot }) };
  const bytes = Buffer.from(`${JSON.stringify({ ...body, manifest_crc32: sealOf(body) }, undefined, 1)}\n`);
  if (bytes.byteLength > MANIFEST_LIMIT_BYTES) {
    throw new StillpointError(
      'UNSUPPORTED_FILE',
      `${entries.length} files are more than one manifest can hold`,
    );
  }
  return bytes;
}

/** Reads a manifest; `MANIFEST_INVALID` says what is wrong. `path` is where the bytes came from. */
export function decodeManifest(bytes: Uint8Array, path: string): ParsedManifest {
  const refuse = (message: string, cause?: unknown) =>
    new StillpointError('MANIFEST_INVALID', `${path}: ${message}`, {
      path,
      ...(cause === undefined ? {} : { cause }),
    });
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw refuse('is not JSON', cause);
  }
  const version = (json as { version?: unknown } | null)?.version;
  if (typeof version === 'number' && version !== 1)
    throw refuse(`has version ${version}, and only 1 is known`);
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success) throw refuse(z.prettifyError(parsed.error).split('\n').slice(0, 4).join('; '));
  const { manifest_crc32: seal, ...manifest } = parsed.data;
  checkPaths(manifest.entries, refuse);
  const sealed = seal !== undefined;
  if (sealed) {
    // Over what stands there, fields that we do not know included.
    const { manifest_crc32: _, ...body } = json as Record<string, unknown>;
    if (sealOf(body) !== seal) throw refuse('does not match its own checksum (manifest_crc32)');
    if (
      !manifest.entries.every(
        (entry, i) => i === 0 || comparePaths(manifest.entries[i - 1]!.path, entry.path) < 0,
      )
    ) {
      throw refuse('its entries are not sorted by path');
    }
  }
  return { ...manifest, sealed };
}

/** Bytewise, as the manifest is sorted: UTF-16 order of JavaScript differs from it. */
export const comparePaths = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** Why `path` may not stand in a manifest, or undefined when it may. */
export function pathProblem(path: string): string | undefined {
  if (Buffer.byteLength(path) > PATH_LIMIT_BYTES) return 'is too long';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a NUL is what must be found
  if (/[\\\u0000\ufffd]/.test(path)) return 'has a character that not every system can store';
  if (path.startsWith('/') || /^[A-Za-z]:/.test(path)) return 'is absolute';
  const parts = path.split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..'))
    return 'has an empty, "." or ".." part';
  if (parts[0] === LIFECYCLE) return `lies in ${LIFECYCLE}`;
  if (path === MANIFEST) return 'is the manifest itself';
  return undefined;
}

function checkPaths(entries: readonly ManifestEntry[], refuse: (message: string) => Error): void {
  const seen = new Map<string, string>();
  for (const { path } of entries) {
    const problem = pathProblem(path);
    if (problem !== undefined) throw refuse(`the path ${JSON.stringify(path.slice(0, 200))} ${problem}`);
    const folded = path.toLowerCase();
    const other = seen.get(folded);
    if (other === path) throw refuse(`the path ${JSON.stringify(path)} stands there twice`);
    if (other !== undefined) {
      throw refuse(`the paths ${JSON.stringify(other)} and ${JSON.stringify(path)} differ only in case`);
    }
    seen.set(folded, path);
  }
  // "a" and "a/b" cannot both be files.
  for (const { path } of entries) {
    for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1)) {
      if (seen.has(path.slice(0, at).toLowerCase())) {
        throw refuse(`the path ${JSON.stringify(path.slice(0, at))} is a file and a folder at once`);
      }
    }
  }
}

const sealOf = (body: unknown): number => crc32(Buffer.from(JSON.stringify(sortKeys(body, 0))));

function sortKeys(value: unknown, depth: number): unknown {
  if (depth > 20) throw new StillpointError('MANIFEST_INVALID', 'the manifest is nested too deeply');
  if (Array.isArray(value)) return value.map((item) => sortKeys(item, depth + 1));
  if (typeof value !== 'object' || value === null) return value;
  const record = value as Record<string, unknown>;
  return Object.fromEntries(
    Object.keys(record)
      .sort()
      .map((key) => [key, sortKeys(record[key], depth + 1)]),
  );
}
