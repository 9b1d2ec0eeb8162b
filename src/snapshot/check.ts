import type { Engine, FileCheck } from '../engine/engine.ts';
import type { Level } from '../engine/report.ts';
import type { RunControl } from '../env/worker-pool.ts';
import type { Environment } from './environment.ts';
import { inBatches, inLanes } from './lanes.ts';

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
}

/** Reads files in worker threads, each once, and tells what the engine finds in them. */
export async function checkInBatches(
  env: Environment,
  request: CheckRequest,
  files: readonly SizedPath[],
): Promise<Map<string, FileCheck>> {
  const checks = new Map<string, FileCheck>();
  const batches = inBatches(files, ({ sizeBytes }) => sizeBytes);
  await inLanes(batches, env.pool.concurrency, async (batch) => {
    const results = await checkBatch(env, request, batch);
    for (const [i, check] of results.entries()) checks.set(batch[i]!.path, check);
  });
  return checks;
}

/** One trip to a worker thread; results in the order of the files. */
export function checkBatch(
  env: Environment,
  { root, engine, level, live, control }: CheckRequest,
  batch: readonly SizedPath[],
): Promise<FileCheck[]> {
  const files = batch.map(({ path }) => ({ path, level, live }));
  return env.pool.run('checkFiles', { root, engine: engine.name, files }, control);
}
