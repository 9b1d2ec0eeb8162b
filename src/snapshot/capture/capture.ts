import { join } from 'node:path';
import type { CapturePlan, Engine, FileCheck, ImageItem, ImmutableItem } from '../../engine/engine.ts';
import type { Level } from '../../engine/report.ts';
import { foldersOf } from '../../env/folder-tree.ts';
import { createFile, removeIfPresent } from '../../env/io.ts';
import type { RunControl } from '../../env/worker-pool.ts';
import { StillpointError } from '../../errors.ts';
import { crc32 } from '../../format/crc32.ts';
import { crc32c } from '../../format/crc32c.ts';
import type { Environment } from '../environment.ts';
import { placeOf } from '../store/layout.ts';
import type { ProvenFile, ReusableSnapshot } from '../store/ledger.ts';
import { type ManifestEntry, sumsOf } from '../store/manifest.ts';
import type { CopyJob } from '../tasks/copy-files.ts';
import { Pipeline } from '../tasks/pipeline.ts';
import { type CloneChoice, Reflinker } from '../tasks/reflinker.ts';
import type { SizedPath } from '../verify/check-files.ts';
import { checkPlan, imageBytes } from './check-plan.ts';
import { isSameSource, type Pin, Pins, resized, sourceOf } from './pins.ts';
import { findEqual, isUnchangedSinceProof } from './reuse.ts';

/** Rounds that a plan from outside may take until the files agree with each other. */
const ROUNDS = 8;

export const MODES = ['copy', 'link'] as const;
/** `copy`: the snapshot shares no block with the database. `link`: immutable files are hard links to the database's. */
export type Mode = (typeof MODES)[number];

export interface CaptureRequest {
  readonly engine: Engine;
  /** Real path of the data directory. */
  readonly dir: string;
  /** The partial folder: exists, empty, on the same file system as it will be published on. */
  readonly into: string;
  readonly mode: Mode;
  readonly level: Level;
  /** In mode `copy`, for immutable files. */
  readonly clone: CloneChoice;
  /** Replaces the engine's own plan: what a checkpoint hook holds still. */
  readonly plan?: CapturePlan | undefined;
  /** The newest proven snapshot, whose immutable files may serve again. */
  readonly previous?: ReusableSnapshot | undefined;
  /** Shared files carry no earlier proof: they are left to be read again. */
  readonly reprove: boolean;
  readonly control: RunControl;
  /** How many files, and how many bytes the capture and the proof will read. */
  readonly onPlanned?: (files: number, bytes: number) => void;
  /** The last byte of the source is read, or pinned: the host may go on as it likes. Proving goes on. */
  readonly onCaptured?: () => Promise<void>;
}

export interface Capture {
  readonly entries: readonly ManifestEntry[];
  readonly checkpoint?: { readonly lsn: string } | undefined;
  /** What is known already of files that the proof need not read again. */
  readonly known: ReadonlyMap<string, FileCheck>;
  readonly copiedBytes: number;
  readonly linkedBytes: number;
  readonly clonedBytes: number;
  readonly reusedBytes: number;
  /** Shared with an earlier snapshot or the database, and left to be read again although proven then. */
  readonly reprovenBytes: number;
}

/**
 * Captures one state of a data directory into a folder, each source byte read once. All of it is synced, save the names in the
 * folder itself: sealing does that. Rejects with
 * `SOURCE_CHANGING` when no consistent state was found, `NO_SPACE`, `UNSUPPORTED_FILE`, `CANCELLED` and others; what
 * it wrote until then is the caller's to remove.
 */
export async function capture(env: Environment, request: CaptureRequest): Promise<Capture> {
  const pinFolder = join(request.into, '.pins');
  await env.fs.makeFolder(pinFolder);
  const pins = new Pins(env.fs, request.dir, pinFolder);
  const capturing = new Capturing(env, request, pins);
  try {
    return await capturing.run();
  } finally {
    await capturing.settled();
    await pins.drop();
  }
}

/** A file that stands in the copy without having been read: its checksums come from reading it there. */
type Unread = SizedPath & { readonly pin: Pin; readonly isClone?: true };

type Provenance = Pick<ManifestEntry, 'kind' | 'source'>;

class Capturing {
  readonly #env: Environment;
  readonly #request: CaptureRequest;
  readonly #pins: Pins;
  readonly #entries: ManifestEntry[] = [];
  readonly #known = new Map<string, FileCheck>();
  readonly #folders = new Set<string>();
  #pipeline: Pipeline;
  #copiedBytes = 0;
  readonly #cloner: Reflinker;
  #linkedBytes = 0;
  #clonedBytes = 0;
  #reusedBytes = 0;
  #reprovenBytes = 0;

  constructor(env: Environment, request: CaptureRequest, pins: Pins) {
    this.#env = env;
    this.#request = request;
    this.#pins = pins;
    this.#cloner = new Reflinker(env.fs, request.mode === 'copy' ? request.clone : 'never');
    this.#pipeline = this.#newPipeline();
  }

  #newPipeline(): Pipeline {
    const { into: root, engine, level, control } = this.#request;
    return new Pipeline(this.#env, { root, engine, level, live: false, control });
  }

  /** Resolves when no thread writes into the folder any more. */
  settled(): Promise<void> {
    return this.#pipeline.settled();
  }

  async run(): Promise<Capture> {
    const { checkpoint, immutables } = await this.#captureChanging();
    const unread = await this.#captureImmutable(immutables);
    await this.#request.onCaptured?.();
    for (const [path, check] of await this.#pipeline.result()) this.#known.set(path, check);
    for (const { path, pin, isClone } of unread) {
      this.#addImmutable(path, pin, this.#known.get(path)!, isClone);
    }
    for (const folder of [...this.#folders].reverse()) await this.#env.fs.syncFolder(this.#target(folder));
    return {
      entries: this.#entries.map((entry) => this.#withSecondSum(entry)),
      checkpoint,
      known: this.#known,
      copiedBytes: this.#copiedBytes,
      linkedBytes: this.#linkedBytes,
      clonedBytes: this.#clonedBytes,
      reusedBytes: this.#reusedBytes,
      reprovenBytes: this.#reprovenBytes,
    };
  }

  /**
   * Plans, pins what is immutable and copies what is not, until a plan is confirmed. After that nothing that the
   * engine does can change what is captured.
   */
  async #captureChanging(): Promise<{
    checkpoint: CapturePlan['checkpoint'];
    immutables: readonly ImmutableItem[];
  }> {
    const reasons: string[] = [];
    const rounds = this.#request.plan === undefined ? ROUNDS : 1;
    for (let round = 0; round < rounds; round++) {
      this.#request.control.checkCancelled();
      const plan = this.#request.plan ?? (await this.#planFromOutside());
      try {
        checkPlan(plan);
        const immutables = plan.items.filter((item) => item.kind === 'immutable');
        const stale =
          (await this.#pinAll(immutables)) ?? (await this.#copyImages(plan)) ?? (await plan.confirm?.());
        if (stale === undefined) return { checkpoint: plan.checkpoint, immutables };
        reasons.push(stale);
        await this.#discardImages(plan);
      } finally {
        await plan.dispose?.();
      }
    }
    throw new StillpointError(
      'SOURCE_CHANGING',
      `${this.#request.dir} kept changing in ${rounds} rounds: ${[...new Set(reasons)].join('; ')}`,
      { path: this.#request.dir, data: { reasons } },
    );
  }

  #planFromOutside(): Promise<CapturePlan> {
    const { engine, dir, control } = this.#request;
    return engine.plan({
      fs: this.#env.fs,
      dir,
      pin: (path) => this.#pins.pin(path),
      confirmPin: (path) => this.#pins.confirm(path),
      checkCancelled: () => control.checkCancelled(),
    });
  }

  async #pinAll(items: readonly ImmutableItem[]): Promise<string | undefined> {
    const gone: string[] = [];
    for (const { path } of items) {
      this.#request.control.checkCancelled();
      if (!(await this.#pins.pin(path))) gone.push(path);
    }
    return gone.length === 0 ? undefined : `gone: ${gone.slice(0, 10).join(', ')}`;
  }

  async #copyImages(plan: CapturePlan): Promise<string | undefined> {
    await this.#makeFolders(plan.items.map(({ path }) => path));
    const all = plan.items.filter((item) => item.kind === 'image');
    const bytes = plan.items.reduce((sum, item) => sum + this.#plannedBytes(item), 0);
    await this.#checkSpace(plan);
    const proveBytes = plan.items.reduce((sum, item) => sum + this.#sizeOf(item), 0);
    this.#request.onPlanned?.(plan.items.length, bytes + proveBytes);
    for (const item of plan.items) {
      if (item.kind !== 'bytes') continue;
      await createFile(this.#env.fs, this.#target(item.path), item.bytes);
      this.#request.control.addBytes(item.bytes.byteLength);
      this.#copiedBytes += item.bytes.byteLength;
      const { path, bytes } = item;
      const sums = { crc32: crc32(bytes), crc32c: crc32c(bytes) };
      this.#entries.push({ path, size: bytes.byteLength, ...sums, kind: 'bytes' });
    }
    const images = await this.#shareEqual(all);
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
        this.#entries.push({ path: item.path, ...sumsOf(result), kind: 'image' });
        this.#copiedBytes += imageBytes(item);
      },
    );
    return short.length === 0 ? undefined : `became shorter: ${short.slice(0, 10).join(', ')}`;
  }

  async #discardImages(plan: CapturePlan): Promise<void> {
    await this.#pipeline.settled();
    this.#pipeline = this.#newPipeline();
    for (const { kind, path } of plan.items) {
      if (kind !== 'immutable') await removeIfPresent(this.#env.fs, this.#target(path));
    }
    this.#entries.length = 0;
    this.#known.clear();
    this.#copiedBytes = 0;
    this.#reusedBytes = 0;
    this.#reprovenBytes = 0;
  }

  /** Where no file is immutable, those are shared that the previous snapshot has byte for byte. Resolves to the others. */
  async #shareEqual(images: readonly ImageItem[]): Promise<readonly ImageItem[]> {
    const { engine, dir, previous, mode, control } = this.#request;
    if (engine.hasImmutableFiles || mode !== 'copy' || previous === undefined) return images;
    const same = await findEqual(this.#env, dir, previous, images, control);
    const toCopy: ImageItem[] = [];
    for (const item of images) {
      const proven = same.has(item.path) ? previous.files.get(item.path) : undefined;
      if (!proven || !(await this.#share(item.path, proven, { kind: 'image' }))) toCopy.push(item);
    }
    return toCopy;
  }

  /** Resolves to the files that are linked or cloned and whose checksums nobody knows yet; they are being read. */
  async #captureImmutable(items: readonly ImmutableItem[]): Promise<readonly Unread[]> {
    const toCopy: (CopyJob & { path: string; item: ImmutableItem; pin: Pin })[] = [];
    const unread: Unread[] = [];
    for (const item of items) {
      this.#request.control.checkCancelled();
      const { path } = item;
      const pin = this.#pins.of(path);
      const proven = this.#request.previous?.files.get(path);
      if (proven !== undefined && (await this.#reuse(path, pin, proven))) continue;
      if (this.#request.mode === 'link' && pin.link !== undefined) {
        await this.#env.fs.rename(pin.link, this.#target(path));
        this.#linkedBytes += pin.stat.sizeBytes;
        if (proven !== undefined && isSameSource(pin, proven) && proven.ino === pin.stat.ino.toString()) {
          this.#request.control.addBytes(proven.size);
          this.#addProven(path, proven, { kind: 'immutable', source: sourceOf(pin) });
        } else unread.push({ path, sizeBytes: pin.stat.sizeBytes, pin });
        continue;
      }
      if (pin.link !== undefined && (await this.#cloner.clone(pin.link, this.#target(path)))) {
        this.#clonedBytes += pin.stat.sizeBytes;
        this.#request.control.addBytes(pin.stat.sizeBytes);
        unread.push({ path, sizeBytes: pin.stat.sizeBytes, pin, isClone: true });
        continue;
      }
      const source = pin.link === undefined ? { path, fd: pin.file!.fd } : { path: pin.link };
      toCopy.push({ item, path, pin, source, target: this.#target(path) });
    }
    if (this.#request.clone === 'auto') await this.#checkSpace({ items: toCopy.map(({ item }) => item) });
    this.#pipeline.finish(unread); // the engine may have left the syncing of its tables to the kernel
    await this.#pipeline.copy(
      toCopy,
      ({ pin }) => pin.stat.sizeBytes,
      ({ path, pin }, result) => {
        if (result.short || result.sizeBytes !== pin.stat.sizeBytes) throw resized(this.#request.dir, path);
        this.#addImmutable(path, pin, result);
        this.#copiedBytes += result.sizeBytes;
      },
    );
    return unread;
  }

  #addImmutable(path: string, pin: Pin, sums: Parameters<typeof sumsOf>[0], isClone = false): void {
    const source = sourceOf(pin);
    this.#entries.push({
      path,
      ...sumsOf(sums),
      kind: 'immutable',
      source,
      ...(isClone && { cloned: true as const }),
    });
  }

  /** Takes the file from the previous snapshot when it is a proven copy of this very source file. */
  async #reuse(path: string, pin: Pin, proven: ProvenFile): Promise<boolean> {
    if (this.#request.mode !== 'copy' || !isSameSource(pin, proven)) return false;
    // A file that the earlier snapshot only links is the database's own: `copy` promises to share nothing with it.
    if (proven.ino === pin.stat.ino.toString()) return false;
    if (!(await this.#share(path, proven, { kind: 'immutable', source: sourceOf(pin) }))) return false;
    this.#request.control.addBytes(proven.size);
    return true;
  }

  /** Links the previous snapshot's file, unless that was written to since it was proven. */
  async #share(path: string, proven: ProvenFile, what: Provenance): Promise<boolean> {
    const previous = this.#request.previous!;
    if (proven.isClone && this.#request.clone === 'never') return false;
    if (!(await isUnchangedSinceProof(this.#env, previous, path, proven))) return false;
    try {
      await this.#env.fs.link(placeOf(previous.folder, path), this.#target(path));
    } catch {
      return false; // too many links, or none possible here: copying always is
    }
    this.#addProven(path, proven, what);
    this.#reusedBytes += proven.size;
    return true;
  }

  #addProven(path: string, proven: ProvenFile, what: Provenance): void {
    const { size, provenAtMs } = proven;
    const carried = this.#request.reprove ? undefined : proven.check(this.#request.level);
    if (carried !== undefined) this.#known.set(path, carried);
    else this.#reprovenBytes += size;
    this.#entries.push({
      path,
      ...sumsOf({ ...proven, sizeBytes: size }),
      ...what,
      ...(proven.isClone && { cloned: true as const }),
      ...(carried && { proven_at_ms: provenAtMs }),
    });
  }

  async #makeFolders(paths: readonly string[]): Promise<void> {
    for (const folder of foldersOf(paths)) {
      if (this.#folders.has(folder)) continue;
      await this.#env.fs.makeFolder(this.#target(folder));
      this.#folders.add(folder);
    }
  }

  async #checkSpace({ items }: Pick<CapturePlan, 'items'>): Promise<void> {
    if (this.#request.mode === 'link') return;
    const isFree = ({ kind }: (typeof items)[number]) => kind === 'immutable' && this.#cloner.isPossible;
    const bytes = items.reduce((sum, item) => sum + (isFree(item) ? 0 : this.#neededBytes(item)), 0);
    const free = await this.#env.fs.freeBytes(this.#request.into);
    const needed = bytes - (this.#request.previous?.totalBytes ?? 0); // what may be reused takes no space
    if (needed <= free) return;
    throw new StillpointError('NO_SPACE', `the snapshot needs ${needed} bytes, and ${free} are free`, {
      path: this.#request.into,
    });
  }

  #plannedBytes(item: CapturePlan['items'][number]): number {
    return item.kind === 'image' ? imageBytes(item) : this.#sizeOf(item);
  }

  /** What a copy will occupy: holes stay holes. */
  #neededBytes(item: CapturePlan['items'][number]): number {
    if (item.kind === 'bytes') return item.bytes.byteLength;
    const { allocatedBytes } = item.kind === 'image' ? item : this.#pins.of(item.path).stat;
    return Math.min(this.#plannedBytes(item), allocatedBytes ?? Number.POSITIVE_INFINITY);
  }

  #sizeOf(item: CapturePlan['items'][number]): number {
    if (item.kind === 'immutable') return this.#pins.of(item.path).stat.sizeBytes;
    return item.kind === 'image' ? item.sizeBytes : item.bytes.byteLength;
  }

  /** Where the source was not summed up twice, the copy was. */
  #withSecondSum({ path, size, crc32, ...rest }: ManifestEntry): ManifestEntry {
    const crc32c = rest.crc32c ?? this.#known.get(path)?.crc32c;
    return { path, size, crc32, ...(crc32c !== undefined && { crc32c }), ...rest };
  }

  #target(path: string): string {
    return placeOf(this.#request.into, path);
  }
}
