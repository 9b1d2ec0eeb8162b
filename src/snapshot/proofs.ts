import { join } from 'node:path';
import { z } from 'zod';
import type { FileCheck } from '../engine/engine.ts';
import { LEVELS, type Level } from '../engine/report.ts';
import type { FileSystem } from '../env/file-system.ts';
import { makeFolders, readSmallFile, removeIfPresent, replaceFile } from '../env/io.ts';
import { type Layout, placeOf } from './layout.ts';
import type { Manifest } from './manifest.ts';

/**
 * What the proof of a snapshot found out about each of its files, kept beside the snapshots as `proofs/<name>.json`: a
 * later snapshot that shares a file carries its proof on instead of reading it again. Losing this file costs time,
 * never correctness; what does not fit it is read anew.
 */

const LIMIT_BYTES = 256 * 1024 * 1024;

const fileSchema = z.object({
  ino: z.string(),
  mtime_ns: z.string(),
  size: z.number().int().min(0),
  crc32: z.number().int().min(0).max(0xffffffff),
  crc32c: z.number().int().min(0).max(0xffffffff).optional(),
  level: z.enum(LEVELS),
  proven_at_ms: z.number(),
  counts: z.record(z.string(), z.union([z.number(), z.string(), z.null()])),
  facts: z.unknown().optional(),
});
const schema = z.object({ files: z.record(z.string(), fileSchema) });

/** An immutable file of the newest proven snapshot. */
export interface ProvenFile {
  readonly size: number;
  readonly crc32: number;
  readonly crc32c: number | undefined;
  /** Of the snapshot's own file. */
  readonly ino: string;
  /** Of the snapshot's own file: another time says that somebody wrote into it since. */
  readonly mtimeNs: string;
  readonly source: { readonly ino: string; readonly mtime_ns: string } | undefined;
  readonly provenAtMs: number;
  /** What the proof said at this level or a higher one; undefined when it has to be read again. */
  check(level: Level): FileCheck | undefined;
}

export interface ReusableSnapshot {
  readonly name: string;
  readonly folder: string;
  readonly totalBytes: number;
  readonly files: ReadonlyMap<string, ProvenFile>;
}

const proofFile = (layout: Layout, name: string): string => join(layout.proofs, `${name}.json`);

/** Keeps what a proof without any finding showed. */
export async function writeProof(
  fs: FileSystem,
  layout: Layout,
  name: string,
  folder: string,
  manifest: Manifest,
  checks: ReadonlyMap<string, FileCheck>,
  level: Level,
  nowMs: number,
): Promise<void> {
  const files: z.infer<typeof schema>['files'] = {};
  for (const entry of manifest.entries) {
    const check = checks.get(entry.path);
    if (entry.kind !== 'immutable' || check === undefined || check.findings.length > 0) continue;
    const stat = await fs.inspect(placeOf(folder, entry.path));
    if (stat === undefined) continue;
    files[entry.path] = {
      ino: stat.ino.toString(),
      mtime_ns: stat.mtimeNs.toString(),
      size: entry.size,
      crc32: entry.crc32,
      ...(check.crc32c !== undefined && { crc32c: check.crc32c }),
      level,
      proven_at_ms: entry.proven_at_ms ?? nowMs,
      counts: check.counts,
      ...(check.facts === undefined ? {} : { facts: check.facts }),
    };
  }
  await makeFolders(fs, layout.proofs);
  await replaceFile(fs, proofFile(layout, name), Buffer.from(JSON.stringify({ files })));
}

/** The files of a snapshot that a later one may share; none when its proof is not on record or does not read. */
export async function readReusable(
  fs: FileSystem,
  layout: Layout,
  name: string,
  manifest: Manifest,
): Promise<ReusableSnapshot | undefined> {
  const bytes = await readSmallFile(fs, proofFile(layout, name), LIMIT_BYTES).catch(() => undefined);
  if (bytes === undefined) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) return undefined;
  const files = new Map<string, ProvenFile>();
  for (const entry of manifest.entries) {
    const proof = parsed.data.files[entry.path];
    if (entry.kind !== 'immutable' || proof?.crc32 !== entry.crc32 || proof.size !== entry.size) continue;
    if (proof.crc32c !== entry.crc32c) continue;
    const { ino, mtime_ns: mtimeNs, size, crc32, crc32c, level: proven, counts, facts } = proof;
    files.set(entry.path, {
      size,
      crc32,
      crc32c,
      ino,
      mtimeNs,
      source: entry.source,
      provenAtMs: proof.proven_at_ms,
      check: (level) =>
        LEVELS.indexOf(level) <= LEVELS.indexOf(proven)
          ? { sizeBytes: size, crc32, crc32c, findings: [], counts, facts }
          : undefined,
    });
  }
  const totalBytes = [...files.values()].reduce((sum, { size }) => sum + size, 0);
  return { name, folder: join(layout.backup, name), totalBytes, files };
}

export const removeProof = (fs: FileSystem, layout: Layout, name: string): Promise<void> =>
  removeIfPresent(fs, proofFile(layout, name));
