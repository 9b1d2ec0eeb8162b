import { dirname, join } from 'node:path';
import * as z from 'zod';
import type { FileCheck } from '../../engine/engine.ts';
import { LEVELS, type Level } from '../../engine/report.ts';
import type { FileIdentity, FileSystem } from '../../env/file-system.ts';
import { listIfPresent, makeFolders, readSmallFile, removeIfPresent, replaceFile } from '../../env/io.ts';
import { acquireWithin } from '../../env/lock.ts';
import { StillpointError } from '../../errors.ts';
import { crc32 } from '../../format/crc32.ts';
import { fromJson, toJson } from '../../options/casing.ts';
import type { Environment } from '../environment.ts';
import type { Proof } from '../verify/prove.ts';
import { nameOf, proofsFolder } from './layout.ts';
import type { Manifest, ManifestEntry } from './manifest.ts';

/**
 * The ledger of proofs: what was found out about each file of a snapshot, and when, kept beside the snapshots as
 * `proofs/<name>.json`. A later snapshot that shares a file carries its proof on instead of reading it again, and whoever
 * verifies all snapshots begins with the oldest proof. Losing it costs time, never correctness: a proof counts only for
 * the very file and the very checksums that the manifest names.
 */

const LIMIT_BYTES = 256 * 1024 * 1024;

/** How long whoever writes waits for another who does: each holds the lock for one small file. */
export const LEDGER_WAIT_MS = 10_000;

const findingSchema = z.object({
  path: z.string(),
  offset: z.number().nullable(),
  code: z.string(),
  severity: z.literal('warning'),
  message: z.string(),
});

const proofSchema = z.object({
  ino: z.string(),
  mtime_ns: z.string(),
  size: z.number().int().min(0),
  crc32: z.number().int().min(0).max(0xffffffff),
  crc32c: z.number().int().min(0).max(0xffffffff).optional(),
  level: z.enum(LEVELS),
  proven_at_ms: z.number(),
  counts: z.record(z.string(), z.union([z.number(), z.string(), z.null()])),
  facts: z.unknown().optional(),
  /** A file in which there was an error has no proof. */
  warnings: z.array(findingSchema).optional(),
});
/**
 * `crc32` is that of the compact JSON of all else. What is on record is believed without a look at the file: one bit of it may
 * not make a healthy database look damaged. `damaged` has the time at which a file lost its proof.
 */
const schema = z.object({
  files: z.record(z.string(), proofSchema),
  damaged: z.record(z.string(), z.number()).optional(),
  crc32: z.number(),
});

/** What is on record of one file. */
export type FileProof = z.infer<typeof proofSchema>;

/** A file that was read. */
export interface ReadFile {
  readonly path: string;
  /** Undefined when it could not be read to its end. */
  readonly check: FileCheck | undefined;
  /** Default: now. Earlier where the check was carried on from there. */
  readonly provenAtMs?: number | undefined;
}

/** A file of the newest proven snapshot that a later one may share. */
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
  /** Whether it shares its blocks with the database's file. */
  readonly isClone: boolean;
  /** What the proof said at this level or a higher one; undefined when it has to be read again. */
  check(level: Level): FileCheck | undefined;
}

export interface ReusableSnapshot {
  readonly name: string;
  readonly folder: string;
  readonly totalBytes: number;
  readonly files: ReadonlyMap<string, ProvenFile>;
}

const LEDGER = '.json';
const proofFile = (location: string): string =>
  join(proofsFolder(dirname(location)), `${nameOf(location)}${LEDGER}`);

/** What is on record of a snapshot's files, by path; nothing when there is no record or it does not read. */
export const readProofs = async (fs: FileSystem, location: string): Promise<Map<string, FileProof>> =>
  (await readLedger(fs, location)).proofs;

interface Ledger {
  readonly proofs: Map<string, FileProof>;
  readonly damaged: Map<string, number>;
}

async function readLedger(fs: FileSystem, location: string): Promise<Ledger> {
  try {
    const bytes = await readSmallFile(fs, proofFile(location), LIMIT_BYTES);
    const json = JSON.parse(bytes?.toString() ?? '');
    const { files, damaged = {}, crc32: sum } = schema.parse(json);
    if (sum === sumOf({ files: json.files, damaged: json.damaged }))
      return { proofs: new Map(Object.entries(files)), damaged: new Map(Object.entries(damaged)) };
  } catch {
    // One that does not read is one that is not there.
  }
  return { proofs: new Map(), damaged: new Map() };
}

function writeLedger(fs: FileSystem, location: string, { proofs, damaged }: Ledger): Promise<void> {
  const all = {
    files: Object.fromEntries(proofs),
    ...(damaged.size > 0 && { damaged: Object.fromEntries(damaged) }),
  };
  return replaceFile(fs, proofFile(location), Buffer.from(JSON.stringify({ ...all, crc32: sumOf(all) })));
}

const sumOf = (all: object): number => crc32(Buffer.from(JSON.stringify(all)));

/** Whether a proof is one of the bytes that a manifest names. */
export const isProofOf = (proof: FileProof | undefined, entry: ManifestEntry): proof is FileProof =>
  proof !== undefined &&
  proof.size === entry.size &&
  proof.crc32 === entry.crc32 &&
  proof.crc32c === (entry.crc32c ?? proof.crc32c);

/** Whether a proof is one of this very file, untouched since. */
export const isProofOfFile = (proof: FileProof, { ino, mtimeNs }: FileIdentity): boolean =>
  proof.ino === ino.toString() && proof.mtime_ns === mtimeNs.toString();

/** What the proof said at `level` or a higher one; undefined when it says less. */
export function checkOf(proof: FileProof, level: Level): FileCheck | undefined {
  if (isDeeper(level, proof.level)) return undefined;
  const { size, crc32, crc32c, counts, facts, warnings = [] } = proof;
  const identity = { ino: BigInt(proof.ino), mtimeNs: BigInt(proof.mtime_ns) };
  return { sizeBytes: size, crc32, crc32c, findings: warnings, counts: fromJson(counts), facts, identity };
}

const isDeeper = (level: Level, than: Level): boolean => LEVELS.indexOf(level) > LEVELS.indexOf(than);

export interface Reading {
  /** The files are in the state in which they were then, or later. */
  readonly sinceMs: number;
  readonly level: Level;
  /** How long to wait for others who write; default `LEDGER_WAIT_MS`. */
  readonly waitMs?: number;
}

/**
 * Puts files that were read just now on record, durably, beside what is on record already; one with an error loses its
 * proof. Where the bytes are still those of a deeper proof, that one stands, and is as fresh as this reading. A file that
 * somebody else found damaged or different since this reading began has none: it is to be read again. `CONFLICT` when others do not let go of the ledger.
 */
export async function noteProofs(
  env: Environment,
  location: string,
  read: Iterable<ReadFile>,
  reading: Reading,
): Promise<void> {
  await whileLocked(env, dirname(location), reading.waitMs ?? LEDGER_WAIT_MS, async () => {
    const ledger = await readLedger(env.fs, location);
    change(ledger, read, reading, env.clock.nowMs());
    await writeLedger(env.fs, location, ledger);
  });
}

/** Two that read, change and write at once would lose each other's notes, and bring back a proof that was taken away. */
async function whileLocked(
  env: Environment,
  parent: string,
  waitMs: number,
  work: () => Promise<void>,
): Promise<void> {
  const folder = proofsFolder(parent);
  await makeFolders(env.fs, folder);
  const path = join(folder, 'lock');
  const lock = await acquireWithin(env, path, waitMs);
  if (lock === undefined)
    throw new StillpointError('CONFLICT', `another process keeps the ledger of proofs locked: ${path}`, {
      path,
    });
  try {
    await work();
  } finally {
    await lock.release();
  }
}

function change(
  { proofs, damaged }: Ledger,
  read: Iterable<ReadFile>,
  { sinceMs, level }: Reading,
  nowMs: number,
): void {
  // One from the future is of a clock that was set back, and must not count for ever.
  const isSince = (ms = Number.NEGATIVE_INFINITY): boolean => ms >= sinceMs && ms <= nowMs;
  for (const { path, check, provenAtMs = nowMs } of read) {
    const proof = check && proofFrom(check, level, provenAtMs);
    const earlier = proofs.get(path);
    if (proof !== undefined && isSince(damaged.get(path))) continue;
    if (proof === undefined || (isSince(earlier?.proven_at_ms) && !isSameFile(earlier, proof))) {
      proofs.delete(path);
      damaged.set(path, nowMs);
      continue;
    }
    damaged.delete(path);
    const isLess = earlier !== undefined && isDeeper(earlier.level, level) && isSameFile(earlier, proof);
    proofs.set(path, isLess ? { ...earlier, proven_at_ms: provenAtMs } : proof);
  }
}

function proofFrom(
  { sizeBytes, crc32, crc32c, findings, counts, facts, identity }: FileCheck,
  level: Level,
  provenAtMs: number,
): FileProof | undefined {
  if (identity === undefined) return undefined; // changed while it was read
  const warnings: FileProof['warnings'] = [];
  for (const { path, offset, code, severity, message } of findings) {
    if (severity === 'error') return undefined;
    warnings.push({ path, offset, code, severity, message });
  }
  return {
    ino: identity.ino.toString(),
    mtime_ns: identity.mtimeNs.toString(),
    size: sizeBytes,
    crc32,
    ...(crc32c !== undefined && { crc32c }),
    level,
    proven_at_ms: provenAtMs,
    counts: toJson(counts),
    ...(facts !== undefined && { facts }),
    ...(warnings.length > 0 && { warnings }),
  };
}

const isSameFile = (a: FileProof | undefined, b: FileProof): boolean =>
  a?.ino === b.ino &&
  a.mtime_ns === b.mtime_ns &&
  a.size === b.size &&
  a.crc32 === b.crc32 &&
  a.crc32c === b.crc32c;

/** Nobody has asked for these notes: without them more is read the next time. */
const BRIEF_WAIT_MS = 1_000;

/**
 * Puts on record what the proof of a whole snapshot showed; `entries` say which files carried an earlier proof. Damage is noted
 * of all snapshots that share the file.
 */
export async function noteSnapshot(
  env: Environment,
  location: string,
  entries: readonly Pick<ManifestEntry, 'path' | 'proven_at_ms'>[],
  proof: Pick<Proof, 'checks' | 'report'>,
  reading: Omit<Reading, 'waitMs'>,
): Promise<void> {
  const { checks } = proof;
  const read: ReadFile[] = [];
  for (const { path, proven_at_ms: provenAtMs } of entries) {
    const check = checks.get(path);
    if (check !== undefined) read.push({ path, check, provenAtMs });
  }
  await noteProofs(env, location, read, { ...reading, waitMs: BRIEF_WAIT_MS });
  await noteDamage(env, dirname(location), proof);
}

/** Takes the proofs of files with an error from all snapshots in `parent` that have these very files. */
export async function noteDamage(
  env: Environment,
  parent: string,
  { checks, report }: Pick<Proof, 'checks' | 'report'>,
): Promise<void> {
  const inodes = new Map<string, string>();
  for (const { path, severity } of report.findings) {
    const ino = checks.get(path)?.identity?.ino.toString();
    if (severity === 'error' && ino !== undefined) inodes.set(path, ino);
  }
  const ledgers = (await listIfPresent(env.fs, proofsFolder(parent))).filter(({ name }) =>
    name.endsWith(LEDGER),
  );
  if (inodes.size === 0 || ledgers.length === 0) return;
  await whileLocked(env, parent, BRIEF_WAIT_MS, async () => {
    for (const { name } of ledgers) {
      const location = join(parent, name.slice(0, -LEDGER.length));
      const ledger = await readLedger(env.fs, location);
      const shared = [...inodes].filter(([path, ino]) => ledger.proofs.get(path)?.ino === ino);
      for (const [path] of shared) {
        ledger.proofs.delete(path);
        ledger.damaged.set(path, env.clock.nowMs());
      }
      if (shared.length > 0) await writeLedger(env.fs, location, ledger);
    }
  });
}

/** The files of a snapshot that a later one may share; none when its proof is not on record or does not read. */
export async function readReusable(
  fs: FileSystem,
  location: string,
  manifest: Manifest,
): Promise<ReusableSnapshot> {
  const proofs = await readProofs(fs, location);
  const files = new Map<string, ProvenFile>();
  for (const entry of manifest.entries) {
    const proof = proofs.get(entry.path);
    if (entry.kind === 'bytes' || !isProofOf(proof, entry)) continue;
    files.set(entry.path, {
      size: entry.size,
      crc32: entry.crc32,
      crc32c: entry.crc32c,
      ino: proof.ino,
      mtimeNs: proof.mtime_ns,
      source: entry.source,
      provenAtMs: proof.proven_at_ms,
      isClone: entry.cloned === true,
      check: (level) => checkOf(proof, level),
    });
  }
  const totalBytes = [...files.values()].reduce((sum, { size }) => sum + size, 0);
  return { name: nameOf(location), folder: location, totalBytes, files };
}

export const removeProof = (fs: FileSystem, location: string): Promise<void> =>
  removeIfPresent(fs, proofFile(location));
