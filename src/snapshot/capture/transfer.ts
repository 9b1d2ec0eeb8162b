import type { CaptureItem, CapturePlan, ImageItem, ImmutableItem } from '../../engine/engine.ts';
import { foldersOf } from '../../env/folder-tree.ts';
import { createFile, removeIfPresent } from '../../env/io.ts';
import type { Environment } from '../environment.ts';
import { placeOf } from '../store/layout.ts';
import type { CopyJob } from '../tasks/copy-files.ts';
import { Pipeline } from '../tasks/pipeline.ts';
import { Reflinker } from '../tasks/reflinker.ts';
import type { SizedPath } from '../verify/check-files.ts';
import type { CapturedFiles } from './captured-files.ts';
import { imageBytes } from './check-plan.ts';
import { type Pin, type Pins, resized } from './pins.ts';
import type { CaptureRequest } from './request.ts';
import { Reuse } from './reuse.ts';
import { bytesToRead, checkSpace } from './space.ts';

/** A file that is in the copy and was not read on the way: its checksums come from reading it back. */
type UnreadFile = SizedPath & { readonly pin: Pin; readonly isClone?: true };

/** Brings the files of a plan into the partial folder: shared, linked, cloned or copied. */
export class Transfer {
  readonly #env: Environment;
  readonly #request: CaptureRequest;
  readonly #pins: Pins;
  readonly #captured: CapturedFiles;
  readonly #reuse: Reuse;
  readonly #reflinker: Reflinker;
  readonly #folders = new Set<string>();
  readonly #unread: UnreadFile[] = [];
  #pipeline: Pipeline;

  constructor(env: Environment, request: CaptureRequest, pins: Pins, captured: CapturedFiles) {
    this.#env = env;
    this.#request = request;
    this.#pins = pins;
    this.#captured = captured;
    this.#reuse = new Reuse(env, request, captured);
    this.#reflinker = new Reflinker(env.fs, request.mode === 'copy' ? request.clone : 'never');
    this.#pipeline = this.#newPipeline();
  }

  /**
   * Copies everything but the immutable files. Resolves to the reason when the plan is stale already.
   * REQUIRES: the immutable files are pinned.
   */
  async copyChanging({ items }: CapturePlan): Promise<string | undefined> {
    await this.#makeFolders(items.map(({ path }) => path));
    await this.#checkSpace(items);
    this.#request.onPlanned?.(items.length, bytesToRead(items, this.#pins));
    for (const item of items) {
      if (item.kind !== 'bytes') continue;
      await createFile(this.#env.fs, this.#target(item.path), item.bytes);
      this.#captured.addBytes(item);
      this.#captured.bytes.copied += item.bytes.byteLength;
      this.#request.control.addBytes(item.bytes.byteLength);
    }
    return this.#copyImages(await this.#reuse.shareEqual(items.filter((item) => item.kind === 'image')));
  }

  async #copyImages(images: readonly ImageItem[]): Promise<string | undefined> {
    const jobs = images.map((item): CopyJob & { path: string; item: ImageItem } => ({
      item,
      path: item.path,
      source: { path: placeOf(this.#request.dir, item.path), ...(item.source && { fd: item.source.fd }) },
      target: this.#target(item.path),
      image: { sizeBytes: item.sizeBytes, extents: item.extents, patches: item.patches },
    }));
    const short: string[] = [];
    await this.#pipeline.copy(
      jobs,
      ({ item }) => imageBytes(item),
      ({ item }, result) => {
        if (result.short) short.push(item.path);
        this.#captured.addImage(item.path, result);
        this.#captured.bytes.copied += imageBytes(item);
      },
    );
    return short.length === 0 ? undefined : `became shorter: ${short.slice(0, 10).join(', ')}`;
  }

  /** Removes what `copyChanging` made of a stale plan. Pins and folders stay for the next round. */
  async discard({ items }: CapturePlan): Promise<void> {
    await this.#pipeline.settled();
    this.#pipeline = this.#newPipeline();
    for (const { kind, path } of items) {
      if (kind !== 'immutable') await removeIfPresent(this.#env.fs, this.#target(path));
    }
    this.#captured.clear();
  }

  /** Takes the pinned files in the cheapest way that the request allows. Afterwards the source is not needed any more. */
  async takeImmutables(items: readonly ImmutableItem[]): Promise<void> {
    const toCopy: ImmutableItem[] = [];
    for (const item of items) {
      this.#request.control.checkCancelled();
      const pin = this.#pins.of(item.path);
      const isTaken =
        (await this.#reuse.shareImmutable(item.path, pin)) ||
        (await this.#link(item.path, pin)) ||
        (await this.#clone(item.path, pin));
      if (!isTaken) toCopy.push(item);
    }
    if (this.#request.clone === 'auto') await this.#checkSpace(toCopy);
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
    const jobs = items.map(({ path }): CopyJob & { path: string; pin: Pin } => {
      const pin = this.#pins.of(path);
      const source = pin.link === undefined ? { path, fd: pin.file!.fd } : { path: pin.link };
      return { path, pin, source, target: this.#target(path) };
    });
    return this.#pipeline.copy(
      jobs,
      ({ pin }) => pin.stat.sizeBytes,
      ({ path, pin }, result) => {
        if (result.short || result.sizeBytes !== pin.stat.sizeBytes) throw resized(this.#request.dir, path);
        this.#captured.addImmutable(path, pin, result);
        this.#captured.bytes.copied += result.sizeBytes;
      },
    );
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
    const { into: root, engine, level, control } = this.#request;
    return new Pipeline(this.#env, { root, engine, level, live: false, control });
  }

  async #makeFolders(paths: readonly string[]): Promise<void> {
    for (const folder of foldersOf(paths)) {
      if (this.#folders.has(folder)) continue;
      await this.#env.fs.makeFolder(this.#target(folder));
      this.#folders.add(folder);
    }
  }

  #checkSpace(items: readonly CaptureItem[]): Promise<void> {
    return checkSpace(this.#env, this.#request, items, this.#pins, this.#reflinker.isPossible);
  }

  #target(path: string): string {
    return placeOf(this.#request.into, path);
  }
}
