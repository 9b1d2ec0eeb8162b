import type { FileCheck } from '../../engine/engine.ts';
import { inBatches, mapConcurrent, Semaphore } from '../../env/concurrency.ts';
import { withFile } from '../../env/io.ts';
import type { Environment } from '../environment.ts';
import { placeOf } from '../store/layout.ts';
import { type CheckRequest, checkBatch, costBytesOf, type SizedPath } from '../verify/check-files.ts';
import { type CopyJob, type CopyResult, joinRanges } from './copy-files.ts';

/** Tasks that sync at once: their threads wait for the disk and need no processor. */
const SYNCS_AT_ONCE = 2;
/** A larger file is copied in ranges by several threads, and synced while it still grows. */
const RANGE_BYTES = 32 * 1024 * 1024;
/** A range begins on the edge of a page. */
const RANGE_STEP_BYTES = 1024 * 1024;

/** What is to be copied, for each file. A hundred thousand may wait at once, so what a task needs is made when its turn comes. */
export interface Copying<J> {
  readonly bytesOf: (file: J) => number;
  readonly jobOf: (file: J) => Pick<CopyJob, 'source' | 'target' | 'image'>;
  /** Called for each file once all of it is copied. */
  readonly done: (file: J, result: CopyResult) => void;
}

/** A file, or one range of a large one. */
interface Piece<J> {
  readonly file: J;
  readonly bytes: number;
  readonly part?: {
    readonly range: NonNullable<CopyJob['range']>;
    readonly index: number;
    readonly count: number;
    /** Collects the results of the ranges of the file. */
    readonly results: CopyResult[];
  };
}

/**
 * Copies new files, syncs them and reads them back. Copying goes first, so that the hold on the source ends early. Syncing and
 * reading back follow while the rest is still being copied.
 *
 * In every case await `settled` before touching the folder: until then threads may be writing in it.
 */
export class Pipeline {
  readonly #env: Environment;
  readonly #request: CheckRequest;
  readonly #workers: Semaphore;
  readonly #syncs = new Semaphore(SYNCS_AT_ONCE);
  readonly #checks = new Map<string, FileCheck>();
  readonly #underWay: Promise<void>[] = [];
  readonly #failures: unknown[] = [];

  /** @param workers Limits the tasks that compute at once; shared with other work of the same run. */
  constructor(env: Environment, request: CheckRequest, workers = new Semaphore(env.pool.concurrency)) {
    this.#env = env;
    this.#request = request;
    this.#workers = workers;
  }

  /** Resolves when every byte is copied. With `isFinished`, syncing and reading back go on in the background. */
  async copy<J extends { readonly path: string }>(
    files: readonly J[],
    { bytesOf, jobOf, done }: Copying<J>,
    { isFinished = true, withCrc32c = this.#request.engine.sealsWithCrc32 === true } = {},
  ): Promise<void> {
    const { pool } = this.#env;
    const pieces: Piece<J>[] = [];
    for (const file of files) {
      const bytes = bytesOf(file);
      if (bytes <= RANGE_BYTES) pieces.push({ file, bytes });
      else {
        const { target, image } = jobOf(file);
        await this.#create(target);
        pieces.push(...rangesOf(file, bytes, image?.sizeBytes ?? bytes));
      }
    }
    await mapConcurrent(
      inBatches(pieces, ({ bytes }) => bytes),
      pool.concurrency,
      async (batch) => {
        if (this.#failures.length > 0) throw this.#failures[0];
        const jobs = batch.map(({ file, part }): CopyJob => {
          return { ...jobOf(file), withCrc32c, ...(part && { range: part.range }) };
        });
        const costBytes = costBytesOf(
          batch.map(({ bytes: sizeBytes, file: { path } }) => ({ path, sizeBytes })),
        );
        const results = await this.#workers.run(() =>
          pool.run('copyFiles', jobs, this.#request.control, costBytes),
        );
        const finished: SizedPath[] = [];
        for (const [i, { file, part }] of batch.entries()) {
          let result = results[i]!;
          if (part !== undefined) {
            part.results[part.index] = result;
            if (Object.keys(part.results).length < part.count) {
              if (isFinished) this.#inBackground(() => this.#sync([jobs[i]!.target], costBytes));
              continue;
            }
            result = joinRanges(part.results);
          }
          done(file, result);
          const { sizeBytes, writtenBytes: allocatedBytes } = result;
          finished.push({ path: file.path, sizeBytes, allocatedBytes });
        }
        if (isFinished && finished.length > 0) this.#finish(finished);
      },
    );
  }

  /** Syncs files that exist already and reads them back, in the background. */
  finish(files: readonly SizedPath[]): void {
    for (const batch of inBatches(files, ({ sizeBytes }) => sizeBytes)) this.#finish(batch);
  }

  /** The ranges of a file are written into an existing one. */
  #create(target: string): Promise<void> {
    return withFile(this.#env.fs, target, 'create', async () => {});
  }

  #finish(batch: readonly SizedPath[]): void {
    this.#inBackground(async () => {
      await this.#sync(
        batch.map(({ path }) => placeOf(this.#request.root, path)),
        costBytesOf(batch),
      );
      if (this.#failures.length > 0) return;
      const checks = await checkBatch(this.#env, this.#request, batch, this.#workers);
      for (const [i, check] of checks.entries()) this.#checks.set(batch[i]!.path, check);
      this.#request.control.files += batch.length;
    });
  }

  #inBackground(work: () => Promise<void>): void {
    this.#underWay.push(
      work().catch((error) => {
        this.#failures.push(error);
      }),
    );
  }

  #sync(targets: readonly string[], costBytes: number): Promise<void> {
    return this.#syncs.run(async () => {
      if (this.#failures.length > 0) return;
      await this.#env.pool.run('syncFiles', targets, this.#request.control, costBytes);
    });
  }

  /** Waits for everything. Resolves to what was read back, by path; rejects with the first failure. */
  async result(): Promise<ReadonlyMap<string, FileCheck>> {
    await this.settled();
    if (this.#failures.length > 0) throw this.#failures[0];
    return this.#checks;
  }

  /** Resolves when no thread is at work any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay);
  }
}

/** Of a file with `bytes` to be copied, whose copy gets `size` bytes. */
function rangesOf<J>(file: J, bytes: number, size: number): Piece<J>[] {
  const wanted = Math.ceil(bytes / RANGE_BYTES);
  const length = Math.ceil(size / wanted / RANGE_STEP_BYTES) * RANGE_STEP_BYTES;
  const count = Math.ceil(size / length);
  const results: CopyResult[] = [];
  return Array.from({ length: count }, (_, index) => ({
    file,
    bytes: bytes / count,
    part: {
      // The last range has no end: bytes beyond the expected size are copied too, and noticed.
      range: { from: index * length, ...(index < count - 1 && { to: (index + 1) * length }) },
      index,
      count,
      results,
    },
  }));
}
