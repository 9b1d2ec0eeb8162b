import type { ImageItem, ImmutableItem } from '../../engine/engine.ts';
import { mapConcurrent, type Semaphore } from '../../env/concurrency.ts';
import { hasPartsOfSecond } from '../../env/file-times.ts';
import type { Environment } from '../environment.ts';
import type { ProvenFile, ReusableSnapshot } from '../ledger/proven-files.ts';
import { placeOf } from '../store/layout.ts';
import type { CapturedFiles, Provenance } from './captured-files.ts';
import { isWhole } from './check-plan.ts';
import { findEqual, type SourceAndCopy } from './find-equal.ts';
import { isSameSource, type Pin, type Pins, sourcePlaceOf } from './pins.ts';
import type { CaptureRequest } from './request.ts';

/** Each is two short calls, and most of their time is the way to Node's I/O threads and back. */
const LINKS_AT_ONCE = 16;

/** Takes files, or what is known of them, from the newest proven snapshot. Without one, nothing is reused. */
export class Reuse {
  readonly #env: Environment;
  readonly #request: CaptureRequest;
  readonly #captured: CapturedFiles;
  readonly #workers: Semaphore;

  constructor(env: Environment, request: CaptureRequest, captured: CapturedFiles, workers: Semaphore) {
    this.#env = env;
    this.#workers = workers;
    this.#request = request;
    this.#captured = captured;
  }

  /**
   * Links the previous snapshot's files that are proven copies of these very source files. Inode, size and time tell, or the bytes
   * where the time proves nothing: in a file that was young then, or without parts of a second. Resolves to the others.
   * REQUIRES: all of them are pinned.
   */
  async shareImmutables(items: readonly ImmutableItem[], pins: Pins): Promise<readonly ImmutableItem[]> {
    const { previous, mode, control } = this.#request;
    if (previous === undefined || mode !== 'copy') return items;
    const equal = await this.#compareImmutables(previous, items, pins);
    const shared = await this.#share(previous, items, ({ path }) => {
      const proven = previous.files.get(path);
      const pin = pins.of(path);
      const isCopy = proven && !isOwnFile(pin, proven) && (isSameSource(pin, proven) || equal.has(path));
      return isCopy ? proven : undefined;
    });
    for (const { path } of shared) {
      const proven = previous.files.get(path)!;
      this.#add(path, proven, provenanceOf(pins.of(path)));
      if (!equal.has(path)) control.addBytes(proven.size); // else comparing has counted them
    }
    return items.filter((item) => !shared.has(item));
  }

  async #compareImmutables(
    previous: ReusableSnapshot,
    items: readonly ImmutableItem[],
    pins: Pins,
  ): Promise<ReadonlySet<string>> {
    const pairs: SourceAndCopy[] = [];
    for (const { path } of items) {
      const proven = previous.files.get(path);
      const pin = pins.of(path);
      if (proven?.size !== pin.stat.sizeBytes || isOwnFile(pin, proven) || isSameSource(pin, proven))
        continue;
      // Another inode or time of a file that had a trustworthy one: another file. Comparing would only cost.
      if (proven.source !== undefined && hasPartsOfSecond(pin.stat.mtimeNs)) continue;
      if (!(await this.#isUnchangedSinceProof(previous, path, proven))) continue;
      const copy = placeOf(previous.folder, path);
      pairs.push({ path, sizeBytes: proven.size, source: sourcePlaceOf(path, pin), copy });
    }
    return findEqual(this.#env, this.#request.control, this.#workers, pairs);
  }

  /**
   * Shares plain files that the previous snapshot has byte for byte, and any image of an engine without immutable files. Both are read
   * for that: neither a time nor a checksum is trusted. Resolves to the others.
   */
  async shareEqual(images: readonly ImageItem[]): Promise<readonly ImageItem[]> {
    const { engine, previous, mode } = this.#request;
    if (mode !== 'copy' || previous === undefined) return images;
    const candidates = engine.hasImmutableFiles
      ? images.filter(({ needsComparison }) => needsComparison)
      : images;
    const equal = await this.#compareImages(previous, candidates);
    const shared = await this.#share(previous, images, ({ path }) =>
      equal.has(path) ? previous.files.get(path) : undefined,
    );
    for (const { path } of shared) this.#add(path, previous.files.get(path)!, { kind: 'image' });
    return images.filter((item) => !shared.has(item));
  }

  /** For a file that was linked to the database's: true when the previous snapshot links the same one and has proven it. */
  carryProof(path: string, pin: Pin): boolean {
    const proven = this.#request.previous?.files.get(path);
    if (proven === undefined || !isSameSource(pin, proven) || !isOwnFile(pin, proven)) return false;
    this.#request.control.addBytes(proven.size);
    this.#add(path, proven, provenanceOf(pin));
    return true;
  }

  /** Links the items that have a proven file. Resolves to those that are linked. */
  async #share<T extends { readonly path: string }>(
    previous: ReusableSnapshot,
    items: readonly T[],
    provenOf: (item: T) => ProvenFile | undefined,
  ): Promise<ReadonlySet<T>> {
    const areLinked = await mapConcurrent(items, LINKS_AT_ONCE, async (item) => {
      this.#request.control.checkCancelled();
      const proven = provenOf(item);
      return proven !== undefined && (await this.#link(previous, item.path, proven));
    });
    return new Set(items.filter((_, index) => areLinked[index]));
  }

  async #link(previous: ReusableSnapshot, path: string, proven: ProvenFile): Promise<boolean> {
    if (proven.isClone && this.#request.clone === 'never') return false;
    if (!(await this.#isUnchangedSinceProof(previous, path, proven))) return false;
    try {
      await this.#env.fs.link(placeOf(previous.folder, path), placeOf(this.#request.into, path));
    } catch {
      return false; // too many links, or none possible here: the file is copied
    }
    this.#captured.bytes.reused += proven.size;
    return true;
  }

  #add(path: string, proven: ProvenFile, provenance: Provenance): void {
    const { reprove, level, control } = this.#request;
    const isMedium = control.wantsMedium;
    // Without parts of a second, nobody sees whether the file was written to after its proof: it is read again.
    const isCarried = !reprove && hasPartsOfSecond(BigInt(proven.mtimeNs));
    const carried = isCarried ? proven.check(level, isMedium) : undefined;
    if (carried !== undefined) control.files++;
    this.#captured.addProven(path, proven, provenance, carried);
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

  async #compareImages(
    previous: ReusableSnapshot,
    images: readonly ImageItem[],
  ): Promise<ReadonlySet<string>> {
    const { dir, control } = this.#request;
    const pairs: SourceAndCopy[] = [];
    for (const item of images) {
      control.checkCancelled();
      const { path, sizeBytes } = item;
      const proven = isWhole(item) ? previous.files.get(path) : undefined;
      if (proven?.size !== sizeBytes) continue;
      if (!(await this.#isUnchangedSinceProof(previous, path, proven))) continue;
      const source = { path: placeOf(dir, path) };
      const stat = await this.#env.fs.inspect(source.path);
      if (stat?.ino.toString() === proven.ino) continue; // the database's own file
      pairs.push({ path, sizeBytes, source, copy: placeOf(previous.folder, path) });
    }
    return findEqual(this.#env, control, this.#workers, pairs);
  }
}

/** Whether the earlier snapshot only links the database's file. `copy` promises to share nothing with the database. */
const isOwnFile = ({ stat }: Pin, { ino }: ProvenFile): boolean => ino === stat.ino.toString();

const provenanceOf = ({ source }: Pin): Provenance => ({ kind: 'immutable', ...(source && { source }) });
