import type { BytesItem, CapturePlan, FileCheck } from '../../engine/engine.ts';
import type { Finding } from '../../engine/report.ts';
import { crc32 } from '../../format/crc32.ts';
import { crc32c } from '../../format/crc32c.ts';
import type { Summed } from '../../format/sums.ts';
import type { ProvenFile } from '../ledger/proven-files.ts';
import { type ManifestEntry, sumsOf } from '../store/manifest.ts';
import type { Pin } from './pins.ts';

export interface Capture {
  readonly entries: readonly ManifestEntry[];
  readonly checkpoint?: { readonly lsn: string } | undefined;
  /** Damage of the source that the copy does not show: see `ImmutableItem.sizeBytes`. */
  readonly findings: readonly Finding[];
  /** What reading the copy back showed, or an earlier proof says: the proof need not read these files again. */
  readonly known: ReadonlyMap<string, FileCheck>;
  readonly copiedBytes: number;
  readonly linkedBytes: number;
  readonly clonedBytes: number;
  readonly reusedBytes: number;
  /** Shared with an earlier snapshot or the database, and left to be read again although they had a proof. */
  readonly reprovenBytes: number;
}

/** What an entry says of the origin of its file. */
export type Provenance = Pick<ManifestEntry, 'kind' | 'source'>;

/** The files of a capture so far: their manifest entries, and what is known of their content. */
export class CapturedFiles {
  readonly #entries = new Map<string, ManifestEntry>();
  readonly #known = new Map<string, FileCheck>();
  readonly bytes = { copied: 0, linked: 0, cloned: 0, reused: 0, reproven: 0 };

  addBytes({ path, bytes }: BytesItem): void {
    this.#add({
      path,
      size: bytes.byteLength,
      crc32: crc32(bytes),
      crc32c: crc32c(bytes),
      kind: 'bytes',
    });
  }

  addImage(path: string, sums: Summed): void {
    this.#add({ path, ...sumsOf(sums), kind: 'image' });
  }

  addImmutable(path: string, { source }: Pin, sums: Summed, isClone = false): void {
    const cloned = isClone && { cloned: true as const };
    this.#add({ path, ...sumsOf(sums), kind: 'immutable', ...(source && { source }), ...cloned });
  }

  /** A file of the previous snapshot. With `carried`, that proof counts; else the file is read again. */
  addProven(path: string, proven: ProvenFile, provenance: Provenance, carried: FileCheck | undefined): void {
    const { size, provenAtMs, isClone } = proven;
    if (carried !== undefined) this.#known.set(path, carried);
    else this.bytes.reproven += size;
    this.#add({
      path,
      ...sumsOf({ ...proven, sizeBytes: size }),
      ...provenance,
      ...(isClone && { cloned: true as const }),
      ...(carried && { proven_at_ms: provenAtMs }),
    });
  }

  /** Whether that reading of the source gave what was captured of it. */
  isEqual(path: string, { sizeBytes, crc32, crc32c }: FileCheck): boolean {
    const entry = this.#entries.get(path);
    return entry?.size === sizeBytes && entry.crc32 === crc32 && entry.crc32c === crc32c;
  }

  addChecks(checks: ReadonlyMap<string, FileCheck>): void {
    for (const [path, check] of checks) this.#known.set(path, check);
  }

  /** Forgets a round whose plan was not confirmed; nothing was linked or cloned in it. */
  clear(): void {
    this.#entries.clear();
    this.#known.clear();
    this.bytes.copied = 0;
    this.bytes.reused = 0;
    this.bytes.reproven = 0;
  }

  result(checkpoint: CapturePlan['checkpoint'], findings: readonly Finding[]): Capture {
    const { copied, linked, cloned, reused, reproven } = this.bytes;
    return {
      entries: [...this.#entries.values()].map((entry) => this.#withSecondSum(entry)),
      checkpoint,
      findings,
      known: this.#known,
      copiedBytes: copied,
      linkedBytes: linked,
      clonedBytes: cloned,
      reusedBytes: reused,
      reprovenBytes: reproven,
    };
  }

  #add(entry: ManifestEntry): void {
    this.#entries.set(entry.path, entry);
  }

  /** Where CRC-32C was not taken of the source, it was taken when the copy was read back. */
  #withSecondSum({ path, size, crc32, ...rest }: ManifestEntry): ManifestEntry {
    const crc32c = rest.crc32c ?? this.#known.get(path)?.crc32c;
    return { path, size, crc32, ...(crc32c !== undefined && { crc32c }), ...rest };
  }
}
