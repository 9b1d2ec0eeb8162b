import type { Engine } from '../engine/engine.ts';
import { removeTree } from '../env/io.ts';
import type { RunControl } from '../env/run-control.ts';
import { StillpointError } from '../errors.ts';
import type { Level } from '../options/choices.ts';
import type { Environment } from './environment.ts';
import { copySnapshot } from './restore/copy-snapshot.ts';
import { folderSource } from './source/folder-source.ts';

export interface ProbeRequest {
  readonly engine: Engine;
  readonly level: Level;
  readonly control: RunControl;
  /** The user's own check of a folder; it rejects when it is not content. */
  readonly probe: (dir: string) => Promise<unknown>;
}

/**
 * Runs the probe on a disposable copy of a sealed folder, in `into`: it may open the copy with the real engine, which may write.
 * `HOOK_FAILED` when the probe refuses the copy. The copy is removed in every case.
 */
export async function runProbe(
  env: Environment,
  sealed: string,
  into: string,
  { engine, level, control, probe }: ProbeRequest,
): Promise<void> {
  try {
    const source = folderSource(env, sealed);
    const { entries } = await source.manifest();
    const options = { isLasting: false, clone: 'auto' } as const; // it is removed before a block can go bad
    await copySnapshot(env, { source, into, entries, engine, level, control, ...options });
    await probe(into);
  } catch (cause) {
    control.checkCancelled();
    const message = `the probe refused the copy: ${cause instanceof Error ? cause.message : String(cause)}`;
    throw new StillpointError('HOOK_FAILED', message, { cause });
  } finally {
    await removeTree(env.fs, into);
  }
}
