import type { CapturePlan, Engine, ImageItem, ImmutableItem } from '../../engine/engine.ts';
import { filesEngine } from '../../engine/files/index.ts';
import { Semaphore } from '../../env/concurrency.ts';
import { foldersOf } from '../../env/folder-tree.ts';
import { createFile, removeIfPresent } from '../../env/io.ts';
import { systemCode } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { placeOf } from '../store/layout.ts';
import { Pipeline } from '../tasks/pipeline.ts';
import { Reflinker } from '../tasks/reflinker.ts';
import { type CheckRequest, checkInBatches, type SizedPath } from '../verify/check-files.ts';
import type { CapturedFiles } from './captured-files.ts';
import { imageBytes } from './check-plan.ts';
import { type Pin, type Pins, resized, sourcePlaceOf } from './pins.ts';
import type { CaptureRequest } from './request.ts';
import { Reuse } from './reuse.ts';
import { bytesToRead, checkLeastSpace, checkSpace } from './space.ts';

/** A file that is in the copy and was not read on the way: its checksums come from reading it back. */
type UnreadFile = SizedPath & { readonly pin: Pin; readonly isClone?: true };

/** Brings the files of a plan into the partial folder: shared, linked, cloned or copied. */
export class Transfer {
  readonly #env: Environment;
  readonly #request: CaptureRequest;
  readonly #pins: Pins;
  readonly #captured: CapturedFiles;
  readonly #workers: Semaphore;
  readonly #reuse: Reuse;
  readonly #reflinker: Reflinker;
  readonly #folders = new Set<string>();
  readonly #unread: UnreadFile[] = [];
  #engine: Engine;
  #pipeline: Pipeline;

  constructor(env: Environment, request: CaptureRequest, pins: Pins, captured: CapturedFiles) {
    this.#env = env;
    this.#request = request;
    this.#pins = pins;
    this.#captured = captured;
    this.#workers = new Semaphore(env.pool.concurrency);
    this.#reuse = new Reuse(env, request, captured, this.#workers);
    this.#reflinker = new Reflinker(env.fs, request.mode === 'copy' ? request.clone : 'never');
    this.#engine = request.engine;
    this.#pipeline = this.#newPipeline();
  }

  /**
   * Copies everything but the immutable files. Resolves to the reason when the plan is stale already.
   * REQUIRES: the immutable files are pinned.
   */
  async copyChanging({ items }: CapturePlan): Promise<string | undefined> {
    const paths = items.map(({ path }) => path);
    this.#engine = this.#request.engine.forFiles?.(paths) ?? this.#request.engine;
    this.#pipeline = this.#newPipeline();
    await this.#makeFolders(paths);
    await checkLeastSpace(this.#env, this.#request, items, this.#pins, this.#reflinker.isPossible);
    this.#request.onPlanned?.(items.length, bytesToRead(items, this.#pins));
    for (const item of items) {
      if (item.kind !== 'bytes') continue;
      await createFile(this.#env.fs, this.#target(item.path), item.bytes);
      this.#captured.addBytes(item);
      this.#captured.bytes.copied += item.bytes.byteLength;
      this.#request.control.addBytes(item.bytes.byteLength);
      this.#request.control.files++;
    }
    const images = await this.#reuse.shareEqual(items.filter((item) => item.kind === 'image'));
    return this.#copyImages(images);
  }

  async #copyImages(images: readonly ImageItem[]): Promise<string | undefined> {
    const isCompared = images.some(({ needsComparison }) => needsComparison);
    const withCrc32c = isCompared || this.#engine.sealsWithCrc32 === true;
    const short: string[] = [];
    await this.#pipeline.copy(
      images,
      {
        bytesOf: imageBytes,
        jobOf: ({ path, source, sizeBytes, extents, patches }) => ({
          source: { path: placeOf(this.#request.dir, path), ...(source && { fd: source.fd }) },
          target: this.#target(path),
          image: { sizeBytes, extents, patches },
        }),
        done: ({ path }, result) => {
          if (result.short) short.push(path);
          this.#captured.addImage(path, result);
          this.#captured.bytes.copied += result.writtenBytes;
        },
      },
      { withCrc32c },
    );
    return short.length === 0 ? undefined : `became shorter: ${short.slice(0, 10).join(', ')}`;
  }

  /** Reads the sources that need it once more. Resolves to the reason when one is not what was copied. */
  async compareSources({ items }: CapturePlan): Promise<string | undefined> {
    const images = items
      .filter((item) => item.kind === 'image')
      .filter(({ needsComparison }) => needsComparison);
    if (images.length === 0) return undefined;
    const request = {
      ...this.#checkRequest(),
      root: this.#request.dir,
      engine: filesEngine,
      level: 'files',
    } as const;
    const checks = await checkInBatches(this.#env, request, images, this.#workers).catch((error) => {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (checks === undefined) return 'a file vanished';
    const changed = images.filter(({ path }) => !this.#captured.isEqual(path, checks.get(path)!));
    if (changed.length === 0) return undefined;
    return `written to while copied: ${changed
      .slice(0, 10)
      .map(({ path }) => path)
      .join(', ')}`;
  }

  /** Removes what `copyChanging` made of a stale plan. Pins and folders stay for the next round. */
  async discard({ items }: CapturePlan): Promise<void> {
    await this.#pipeline.settled();
    for (const { kind, path } of items) {
      if (kind !== 'immutable') await removeIfPresent(this.#env.fs, this.#target(path));
    }
    this.#captured.clear();
  }

  /** Takes the pinned files in the cheapest way that the request allows. Afterwards the source is not needed any more. */
  async takeImmutables(items: readonly ImmutableItem[]): Promise<void> {
    const toCopy: ImmutableItem[] = [];
    for (const item of await this.#reuse.shareImmutables(items, this.#pins)) {
      this.#request.control.checkCancelled();
      const pin = this.#pins.of(item.path);
      const isTaken = (await this.#link(item.path, pin)) || (await this.#clone(item.path, pin));
      if (!isTaken) toCopy.push(item);
    }
    await checkSpace(this.#env, this.#request, toCopy, this.#pins); // now it is known what is neither shared nor cloned
    this.#pipeline.finish(this.#unread); // synced, too: the engine may not have synced its tables
    await this.#copyImmutables(toCopy);
  }

  async #link(path: string, pin: Pin): Promise<boolean> {
    if (this.#request.mode !== 'link' || pin.link === undefined) return false;
    await this.#env.fs.rename(pin.link, this.#target(path));
    this.#captured.bytes.linked += pin.stat.sizeBytes;
    if (!this.#reuse.carryProof(path, pin)) this.#unread.push({ path, sizeBytes: pin.stat.sizeBytes, pin });
    return true;
  }

  async #clone(path: string, pin: Pin): Promise<boolean> {
    if (pin.link === undefined || !(await this.#reflinker.clone(pin.link, this.#target(path)))) return false;
    const { sizeBytes } = pin.stat;
    this.#captured.bytes.cloned += sizeBytes;
    this.#request.control.addBytes(sizeBytes);
    this.#unread.push({ path, sizeBytes, pin, isClone: true });
    return true;
  }

  #copyImmutables(items: readonly ImmutableItem[]): Promise<void> {
    return this.#pipeline.copy(items, {
      bytesOf: ({ path }) => this.#pins.of(path).stat.sizeBytes,
      jobOf: ({ path }) => ({ source: sourcePlaceOf(path, this.#pins.of(path)), target: this.#target(path) }),
      done: ({ path }, result) => {
        const pin = this.#pins.of(path);
        if (result.short || result.sizeBytes !== pin.stat.sizeBytes) throw resized(this.#request.dir, path);
        this.#captured.addImmutable(path, pin, result);
        this.#captured.bytes.copied += result.writtenBytes;
      },
    });
  }

  /** Waits until everything is synced and read back. */
  async finish(): Promise<void> {
    const checks = await this.#pipeline.result();
    this.#captured.addChecks(checks);
    for (const { path, pin, isClone } of this.#unread)
      this.#captured.addImmutable(path, pin, checks.get(path)!, isClone);
    for (const folder of [...this.#folders].reverse()) await this.#env.fs.syncFolder(this.#target(folder));
  }

  /** Resolves when no thread writes into the folder any more. */
  settled(): Promise<void> {
    return this.#pipeline.settled();
  }

  #newPipeline(): Pipeline {
    return new Pipeline(this.#env, this.#checkRequest(), this.#workers);
  }

  #checkRequest(): CheckRequest {
    const { into: root, level, control } = this.#request;
    return { root, engine: this.#engine, level, live: false, control };
  }

  async #makeFolders(paths: readonly string[]): Promise<void> {
    for (const folder of foldersOf(paths)) {
      if (this.#folders.has(folder)) continue;
      await this.#env.fs.makeFolder(this.#target(folder));
      this.#folders.add(folder);
    }
  }

  #target(path: string): string {
    return placeOf(this.#request.into, path);
  }
}
