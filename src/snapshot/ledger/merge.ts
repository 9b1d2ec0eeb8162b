import type { FileCheck } from '../../engine/engine.ts';
import { toJson } from '../../options/casing.ts';
import { LEVELS, type Level } from '../../options/choices.ts';
import type { FileProof, Ledger } from './ledger-file.ts';

/** A file that was read. */
export interface ReadFile {
  readonly path: string;
  /** Undefined when it could not be read to its end. */
  readonly check: FileCheck | undefined;
  /** Default: now. Earlier where the check was carried on from there. */
  readonly provenAtMs?: number | undefined;
}

export interface Reading {
  /** The files are in the state in which they were then, or later. */
  readonly sinceMs: number;
  readonly level: Level;
}

/**
 * Enters files that were read just now, in place.
 *
 * - A file with an error loses its proof.
 * - A file that others found damaged, or different, since this reading began has no proof: it must be read again.
 * - A deeper proof of the same bytes stands, and is as fresh as this reading.
 */
export function merge(
  { proofs, damaged }: Ledger,
  read: Iterable<ReadFile>,
  { sinceMs, level }: Reading,
  nowMs: number,
): void {
  // A time in the future comes from a clock that was set back since, and must not count for ever.
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
    const known = isSameFile(earlier, proof) ? earlier : undefined;
    const isLess = known !== undefined && isDeeper(known.level, level);
    const mediumAtMs = proof.medium_at_ms ?? known?.medium_at_ms;
    proofs.set(path, {
      ...(isLess ? { ...known, proven_at_ms: provenAtMs } : proof),
      ...(mediumAtMs !== undefined && { medium_at_ms: mediumAtMs }),
    });
  }
}

export const isDeeper = (level: Level, than: Level): boolean => LEVELS.indexOf(level) > LEVELS.indexOf(than);

function proofFrom(
  { sizeBytes, crc32, crc32c, findings, counts, facts, identity, medium, mediumAtMs }: FileCheck,
  level: Level,
  provenAtMs: number,
): FileProof | undefined {
  if (identity === undefined) return undefined; // changed while it was read
  const warnings: FileProof['warnings'] = [];
  for (const { path, offset, code, severity, message, verdict } of findings) {
    if (severity === 'error') return undefined;
    warnings.push({ path, offset, code, severity, message, ...(verdict === 'unread' && { verdict }) });
  }
  return {
    ino: identity.ino.toString(),
    mtime_ns: identity.mtimeNs.toString(),
    size: sizeBytes,
    crc32,
    ...(crc32c !== undefined && { crc32c }),
    level,
    proven_at_ms: provenAtMs,
    ...(medium === true && { medium_at_ms: mediumAtMs ?? provenAtMs }),
    counts: toJson(counts),
    ...(facts !== undefined && { facts }),
    ...(warnings.length > 0 && { warnings }),
  };
}

const isSameFile = (a: FileProof | undefined, b: FileProof): a is FileProof =>
  a?.ino === b.ino &&
  a.mtime_ns === b.mtime_ns &&
  a.size === b.size &&
  a.crc32 === b.crc32 &&
  a.crc32c === b.crc32c;
