import type { Engine, FileCheck, FileCheckRequest } from '../../engine/engine.ts';
import { filesEngine } from '../../engine/files/index.ts';
import { engineModule } from '../../engine/index.ts';
import { inBatches, mapConcurrent, Semaphore } from '../../env/concurrency.ts';
import { isSameIdentity } from '../../env/file-system.ts';
import type { RunControl } from '../../env/run-control.ts';
import type { Level } from '../../options/choices.ts';
import type { Environment } from '../environment.ts';

export interface CheckRequest {
  /** The folder that holds the files. */
  readonly root: string;
  readonly engine: Engine;
  readonly level: Level;
  /** See `FileCheckRequest`. */
  readonly live: boolean;
  readonly control: RunControl;
}

export interface SizedPath {
  readonly path: string;
  readonly sizeBytes: number;
  /** Bytes on disk, where known; the rest are holes. */
  readonly allocatedBytes?: number;
}

/** A larger file is divided into parts for several threads. */
const PART_BYTES = 64 * 1024 * 1024;

/** Reads files in worker threads, each once. Resolves to what the engine found, by path. */
export async function checkInBatches(
  env: Environment,
  request: CheckRequest,
  files: readonly SizedPath[],
  workers = new Semaphore(env.pool.concurrency),
): Promise<Map<string, FileCheck>> {
  const checks = new Map<string, FileCheck>();
  const batches = inBatches(files, ({ sizeBytes }) => sizeBytes);
  await mapConcurrent(batches, env.pool.concurrency, async (batch) => {
    const results = await checkBatch(env, request, batch, workers);
    for (const [i, check] of results.entries()) checks.set(batch[i]!.path, check);
  });
  return checks;
}

/** Checks one batch in one task, or a large file in several tasks at once. Results are in the order of the files. */
export async function checkBatch(
  env: Environment,
  request: CheckRequest,
  batch: readonly SizedPath[],
  workers: Semaphore,
): Promise<FileCheck[]> {
  const { root, level, live, control } = request;
  const engine = level === 'files' ? filesEngine : request.engine;
  const costBytes = costBytesOf(batch);
  const module = engineModule(engine.name);
  const args = { root, engine: engine.name, engineModule: module };
  const run = (files: readonly FileCheckRequest[]) =>
    workers.run(() =>
      env.pool.run('checkFiles', { ...args, files }, control, costBytes, module !== undefined).then(shared),
    );
  const requestFor = (path: string): FileCheckRequest => {
    const within = engine.partOf?.(path);
    return { path, level, live, ...(within && { within }) };
  };
  const [only] = batch;
  const count = batch.length === 1 ? Math.ceil(only!.sizeBytes / PART_BYTES) : 1;
  if (count <= 1 || engine.isDivisible?.(only!.path) !== true) {
    return run(batch.map(({ path }) => requestFor(path)));
  }
  const whole = requestFor(only!.path);
  const parts = await mapConcurrent(
    Array.from({ length: count }, (_, index) => ({ ...whole, part: { index, count } })),
    env.pool.concurrency,
    async (part) => (await run([part]))[0]!,
  );
  const [first, ...others] = parts.map(({ identity }) => identity);
  const isOne = first && others.every((other) => other && isSameIdentity(first, other));
  const medium = parts.every((part) => part.medium === true);
  return [{ ...engine.joinParts!(parts, whole), identity: isOne ? first : undefined, medium }];
}

const NO_FINDINGS: readonly never[] = [];
const NO_COUNTS = {};

/** The same, with one object for all that say nothing: a proof keeps the checks of a hundred thousand files. */
const shared = (checks: FileCheck[]): FileCheck[] =>
  checks.map((check) => ({
    ...check,
    findings: check.findings.length === 0 ? NO_FINDINGS : check.findings,
    counts: Object.keys(check.counts).length === 0 ? NO_COUNTS : check.counts,
  }));

/** Opening a file costs as much as reading this many bytes. */
const OPENING_BYTES = 128 * 1024;
/** This many bytes of a hole cost as much as one byte that is read. */
const HOLE_BYTES = 128;

/** See `WorkerPool.run`. */
export const costBytesOf = (files: readonly SizedPath[]): number =>
  files.reduce((sum, { sizeBytes, allocatedBytes = sizeBytes }) => {
    const read = Math.min(sizeBytes, allocatedBytes);
    return sum + OPENING_BYTES + read + (sizeBytes - read) / HOLE_BYTES;
  }, 0);
