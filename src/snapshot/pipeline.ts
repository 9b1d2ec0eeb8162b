import type { FileCheck } from '../engine/engine.ts';
import { type CheckRequest, checkBatch, type SizedPath } from './check.ts';
import type { CopyJob, CopyResult } from './copy.ts';
import type { Environment } from './environment.ts';
import { inBatches, inLanes, Slots } from './lanes.ts';
import { placeOf } from './layout.ts';

/** Files that are brought to disk at once: threads that wait for the disk and need no processor meanwhile. */
const SYNCS_AT_ONCE = 2;

/**
 * New files on their way: copied, brought to disk, read back. Copying goes first, so that whoever holds the source still may
 * let go early; the disk works behind it, and what has reached the disk is read back while the rest is on its way.
 *
 * Whatever happens, await `settled` before touching the folder: until then threads may be writing in it.
 */
export class Pipeline {
  readonly #env: Environment;
  readonly #request: CheckRequest;
  readonly #workers: Slots;
  readonly #syncs = new Slots(SYNCS_AT_ONCE);
  readonly #checks = new Map<string, FileCheck>();
  readonly #underWay: Promise<void>[] = [];
  readonly #failures: unknown[] = [];

  constructor(env: Environment, request: CheckRequest) {
    this.#env = env;
    this.#request = request;
    this.#workers = new Slots(env.pool.concurrency);
  }

  /** Resolves when every byte is copied; syncing and reading back go on behind it, if they are wanted. */
  async copy<J extends CopyJob & { readonly path: string }>(
    jobs: readonly J[],
    bytesOf: (job: J) => number,
    done: (job: J, result: CopyResult) => void,
    { isFinished = true } = {},
  ): Promise<void> {
    const { pool } = this.#env;
    await inLanes(inBatches(jobs, bytesOf), pool.concurrency, async (batch) => {
      if (this.#failures.length > 0) throw this.#failures[0];
      const bare = batch.map(
        ({ source, target, image }): CopyJob => ({ source, target, ...(image && { image }) }),
      );
      const results = await this.#workers.run(() => pool.run('copyFiles', bare, this.#request.control));
      for (const [i, result] of results.entries()) done(batch[i]!, result);
      if (isFinished) this.#finish(batch.map(({ path }, i) => ({ path, sizeBytes: results[i]!.sizeBytes })));
    });
  }

  /** Syncs files that stand already and reads them back, behind what is under way. */
  finish(files: readonly SizedPath[]): void {
    for (const batch of inBatches(files, ({ sizeBytes }) => sizeBytes)) this.#finish(batch);
  }

  #finish(batch: readonly SizedPath[]): void {
    this.#underWay.push(
      this.#syncAndCheck(batch).catch((error) => {
        this.#failures.push(error);
      }),
    );
  }

  async #syncAndCheck(batch: readonly SizedPath[]): Promise<void> {
    const { root, control } = this.#request;
    const paths = batch.map(({ path }) => placeOf(root, path));
    await this.#syncs.run(async () => {
      if (this.#failures.length === 0) await this.#env.pool.run('syncFiles', paths, control);
    });
    const checks = await this.#workers.run(async () =>
      this.#failures.length === 0 ? checkBatch(this.#env, this.#request, batch) : [],
    );
    for (const [i, check] of checks.entries()) this.#checks.set(batch[i]!.path, check);
  }

  /** What was read back, by path, once all is done. Rejects with the first failure. */
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
