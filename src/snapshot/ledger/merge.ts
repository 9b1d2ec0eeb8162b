import type { FileCheck } from '../../engine/engine.ts';
import { toJson } from '../../options/casing.ts';
import { LEVELS, type Level } from '../../options/choices.ts';
import type { FileProof, Ledger, LedgerState } from './ledger-file.ts';

/** A file that was read. */
export interface ReadFile {
  readonly path: string;
  /** Undefined when it could not be read to its end. */
  readonly check: FileCheck | undefined;
  /** Default: now. Earlier where the check was carried on from there. */
  readonly provenAtMs?: number | undefined;
}

export interface Reading {
  /** The ledger before the first file was read. Undefined where that is not known: then all that is in it counts as later. */
  readonly before: LedgerState | undefined;
  readonly level: Level;
}

/**
 * Enters files that were read just now, in place.
 *
 * - A file with an error loses its proof.
 * - A file that others found damaged, or different, since this reading began has no proof: it must be read again. No clock decides that.
 * - A file that a deeper reading found damaged has none until one as deep finds it whole.
 * - A deeper proof of the same bytes stands, and is as fresh as this reading.
 */
export function merge(
  ledger: Ledger,
  read: Iterable<ReadFile>,
  { before, level }: Reading,
  nowMs: number,
): void {
  const { proofs, damaged, id } = ledger;
  const sequence = ledger.sequence + 1;
  const isSince = (entry: { readonly sequence?: number | undefined }): boolean =>
    before === undefined || before.id !== id || (entry.sequence ?? 0) > before.sequence;
  for (const { path, check, provenAtMs = nowMs } of read) {
    const proof = check && proofFrom(check, level, provenAtMs);
    const earlier = proofs.get(path);
    const damage = damaged.get(path);
    if (proof !== undefined && damage && (isSince(damage) || isDeeper(damage.level, level))) continue;
    if (proof === undefined || (earlier && isSince(earlier) && !isSameFile(earlier, proof))) {
      condemn(ledger, path, level, nowMs);
      continue;
    }
    damaged.delete(path);
    const known = isSameFile(earlier, proof) ? earlier : undefined;
    const isLess = known !== undefined && isDeeper(known.level, level);
    const mediumAtMs = proof.medium_at_ms ?? known?.medium_at_ms;
    proofs.set(path, {
      ...(isLess ? { ...known, proven_at_ms: provenAtMs } : proof),
      sequence,
      ...(mediumAtMs !== undefined && { medium_at_ms: mediumAtMs }),
    });
  }
}

/** Takes the proof of a file away, in place, until a reading that begins later and is as deep finds it whole. */
export function condemn(
  { proofs, damaged, sequence }: Ledger,
  path: string,
  level: Level,
  nowMs: number,
): void {
  proofs.delete(path);
  const known = damaged.get(path)?.level ?? level;
  const deepest = isDeeper(known, level) ? known : level;
  damaged.set(path, { at_ms: nowMs, level: deepest, sequence: sequence + 1 });
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
