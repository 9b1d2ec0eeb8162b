import type { FileCheck } from '../../engine/engine.ts';
import type { FileIdentity, FileSystem } from '../../env/file-system.ts';
import { hasPartsOfSecond } from '../../env/file-times.ts';
import { fromJson } from '../../options/casing.ts';
import type { Level } from '../../options/choices.ts';
import { nameOf } from '../store/layout.ts';
import type { Manifest, ManifestEntry } from '../store/manifest.ts';
import { type FileProof, readLedgerIfAllowed } from './ledger-file.ts';
import { isDeeper } from './merge.ts';

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
  /** What the proof said at this level or a higher one, of bytes from the device if so wanted; undefined when it has to be read again. */
  check(level: Level, medium: boolean): FileCheck | undefined;
}

export interface ReusableSnapshot {
  readonly name: string;
  readonly folder: string;
  readonly files: ReadonlyMap<string, ProvenFile>;
}

/** The files of a snapshot that a later one may share; none when its proof is not on record. */
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
      check: (level, medium) => checkOf(proof, level, medium),
    });
  }
  return { name: nameOf(location), folder: location, files };
}

/** What is on record of a snapshot's files, by path. Nothing where this process may not look: then more is read. */
export async function readProofs(fs: FileSystem, location: string): Promise<Map<string, FileProof>> {
  return (await readLedgerIfAllowed(fs, location))?.proofs ?? new Map();
}

/** Whether a proof is one of the bytes that a manifest names. */
export const isProofOf = (proof: FileProof | undefined, entry: ManifestEntry): proof is FileProof =>
  proof !== undefined &&
  proof.size === entry.size &&
  proof.crc32 === entry.crc32 &&
  proof.crc32c === (entry.crc32c ?? proof.crc32c);

/**
 * Whether a proof is one of this very file, not written to since. A copy is always young when it is proven: nobody else writes
 * into a partial folder, so that is no objection. A time without parts of a second is one.
 */
export const isProofOfFile = (proof: FileProof, { ino, mtimeNs }: FileIdentity): boolean =>
  hasPartsOfSecond(mtimeNs) && proof.ino === ino.toString() && proof.mtime_ns === mtimeNs.toString();

/** What the proof said at `level` or a higher one, of bytes from the device if so wanted; undefined when it says less. */
export function checkOf(proof: FileProof, level: Level, wantsMedium: boolean): FileCheck | undefined {
  if (isDeeper(level, proof.level) || (wantsMedium && proof.medium_at_ms === undefined)) return undefined;
  const { size, crc32, crc32c, counts, facts, warnings = [] } = proof;
  const identity = { ino: BigInt(proof.ino), mtimeNs: BigInt(proof.mtime_ns) };
  const mediumAtMs = proof.medium_at_ms;
  return {
    sizeBytes: size,
    crc32,
    crc32c,
    findings: warnings,
    counts: fromJson(counts),
    facts,
    identity,
    medium: mediumAtMs !== undefined,
    mediumAtMs,
  };
}
