import type { ImageItem } from '../../engine/engine.ts';
import { inBatches, mapConcurrent } from '../../env/concurrency.ts';
import type { Environment } from '../environment.ts';
import type { ProvenFile, ReusableSnapshot } from '../ledger/proven-files.ts';
import { placeOf } from '../store/layout.ts';
import { costBytesOf } from '../verify/check-files.ts';
import type { CapturedFiles, Provenance } from './captured-files.ts';
import { isWhole } from './check-plan.ts';
import { isSameSource, type Pin, sourceOf } from './pins.ts';
import type { CaptureRequest } from './request.ts';

/** Takes files, or what is known of them, from the newest proven snapshot. Without one, nothing is reused. */
export class Reuse {
  readonly #env: Environment;
  readonly #request: CaptureRequest;
  readonly #captured: CapturedFiles;

  constructor(env: Environment, request: CaptureRequest, captured: CapturedFiles) {
    this.#env = env;
    this.#request = request;
    this.#captured = captured;
  }

  /** Links the previous snapshot's file when it is a proven copy of this very source file. */
  async shareImmutable(path: string, pin: Pin): Promise<boolean> {
    const { previous, mode, control } = this.#request;
    const proven = previous?.files.get(path);
    if (previous === undefined || proven === undefined || mode !== 'copy') return false;
    if (!isSameSource(pin, proven)) return false;
    // A file that the earlier snapshot only links is the database's own: `copy` promises to share nothing with it.
    if (proven.ino === pin.stat.ino.toString()) return false;
    if (!(await this.#share(previous, path, proven, { kind: 'immutable', source: sourceOf(pin) })))
      return false;
    control.addBytes(proven.size);
    return true;
  }

  /**
   * Where an engine has no immutable files, shares those that the previous snapshot has byte for byte. Both are read for
   * that: neither a time nor a checksum is trusted. Resolves to the others.
   */
  async shareEqual(images: readonly ImageItem[]): Promise<readonly ImageItem[]> {
    const { engine, previous, mode } = this.#request;
    if (engine.hasImmutableFiles || mode !== 'copy' || previous === undefined) return images;
    const equal = await this.#findEqual(previous, images);
    const others: ImageItem[] = [];
    for (const item of images) {
      const proven = equal.has(item.path) ? previous.files.get(item.path) : undefined;
      if (!proven || !(await this.#share(previous, item.path, proven, { kind: 'image' }))) others.push(item);
    }
    return others;
  }

  /** For a file that was linked to the database's: true when the previous snapshot links the same one and has proven it. */
  carryProof(path: string, pin: Pin): boolean {
    const proven = this.#request.previous?.files.get(path);
    if (proven === undefined || !isSameSource(pin, proven) || proven.ino !== pin.stat.ino.toString())
      return false;
    this.#request.control.addBytes(proven.size);
    this.#add(path, proven, { kind: 'immutable', source: sourceOf(pin) });
    return true;
  }

  async #share(
    previous: ReusableSnapshot,
    path: string,
    proven: ProvenFile,
    provenance: Provenance,
  ): Promise<boolean> {
    if (proven.isClone && this.#request.clone === 'never') return false;
    if (!(await this.#isUnchangedSinceProof(previous, path, proven))) return false;
    try {
      await this.#env.fs.link(placeOf(previous.folder, path), placeOf(this.#request.into, path));
    } catch {
      return false; // too many links, or none possible here: the file is copied
    }
    this.#captured.bytes.reused += proven.size;
    this.#add(path, proven, provenance);
    return true;
  }

  #add(path: string, proven: ProvenFile, provenance: Provenance): void {
    const { reprove, level } = this.#request;
    this.#captured.addProven(path, proven, provenance, reprove ? undefined : proven.check(level));
  }

  /** A file that was written to after its proof is never shared. */
  async #isUnchangedSinceProof(
    { folder }: ReusableSnapshot,
    path: string,
    { size, ino, mtimeNs }: ProvenFile,
  ): Promise<boolean> {
    const stat = await this.#env.fs.inspect(placeOf(folder, path));
    if (stat?.kind !== 'file' || stat.sizeBytes !== size) return false;
    return stat.ino.toString() === ino && stat.mtimeNs.toString() === mtimeNs;
  }

  async #findEqual(previous: ReusableSnapshot, images: readonly ImageItem[]): Promise<ReadonlySet<string>> {
    const { dir, control } = this.#request;
    const candidates: ImageItem[] = [];
    for (const item of images) {
      control.checkCancelled();
      const proven = isWhole(item) ? previous.files.get(item.path) : undefined;
      if (proven?.size !== item.sizeBytes) continue;
      if (!(await this.#isUnchangedSinceProof(previous, item.path, proven))) continue;
      const source = await this.#env.fs.inspect(placeOf(dir, item.path));
      if (source?.ino.toString() !== proven.ino) candidates.push(item); // else it is the database's own
    }
    return this.#compare(previous, candidates);
  }

  /** Those of the files that have the same bytes in both folders; worker threads read them. */
  async #compare(previous: ReusableSnapshot, files: readonly ImageItem[]): Promise<ReadonlySet<string>> {
    const { dir: left, control } = this.#request;
    const { pool } = this.#env;
    const equal = new Set<string>();
    const batches = inBatches(files, ({ sizeBytes }) => sizeBytes);
    await mapConcurrent(batches, pool.concurrency, async (batch) => {
      const paths = batch.map(({ path }) => path);
      const args = { left, right: previous.folder, paths };
      const results = await pool.run('compareFiles', args, control, 2 * costBytesOf(batch));
      for (const [i, path] of paths.entries()) if (results[i]) equal.add(path);
    });
    return equal;
  }
}
