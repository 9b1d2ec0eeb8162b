import { resolve } from 'node:path';
import * as z from 'zod/mini';
import { callSafely } from '../env/safe-calls.ts';
import { OptionSet, type OptionsOf, optional, required } from '../options/option.ts';
import { folder } from '../options/values.ts';
import { environmentOption, systemEnvironment } from '../snapshot/environment.ts';
import { DataDirectory, type Recovery } from './data-directory.ts';
import type { RunRecord } from './run-record.ts';

/**
 * - `normal`: reads and writes.
 * - `read_only`: reads; the host refuses writes.
 * - `maintenance`: the database is closed, or about to be.
 */
export const LIFECYCLE_MODES = ['normal', 'read_only', 'maintenance'] as const;
export type LifecycleMode = (typeof LIFECYCLE_MODES)[number];

export const lifecycleOptions = new OptionSet(() => ({
  dataDir: required(folder(), { description: 'The data directory.' }),
  lifecycleDir: optional(folder(), {
    description:
      'The folder that `.lifecycle` with the snapshots stands in, such as one on another disk. It is made if it is missing, and remembered on both sides: every later call finds it.',
    without: 'where it was before; at first the data directory itself',
    flag: { name: 'to', value: 'dir' },
  }),
  environment: environmentOption(),
}));
export type LifecycleOptions = OptionsOf<typeof lifecycleOptions>;

let directoryIn: (lifecycle: Lifecycle) => DataDirectory;

/**
 * What happens to one data directory: its mode, the run under way, recovery after a crash. Share one among the coordinators
 * of a process.
 *
 * Call `recover()` before you open the database: it finishes a restore that a crash interrupted.
 */
export class Lifecycle {
  readonly #directory: DataDirectory;
  readonly #listeners = new Set<(mode: LifecycleMode) => void>();
  #mode: LifecycleMode = 'normal';

  static {
    directoryIn = (lifecycle) => lifecycle.#directory;
  }

  constructor(options: LifecycleOptions) {
    const { dataDir, lifecycleDir, environment } = lifecycleOptions.resolve('Lifecycle', options);
    this.#directory = new DataDirectory(dataDir, environment ?? systemEnvironment, lifecycleDir);
  }

  /** As it was given. */
  get dataDir(): string {
    return this.#directory.path;
  }

  get mode(): LifecycleMode {
    return this.#mode;
  }

  setMode(mode: LifecycleMode): void {
    if (!LIFECYCLE_MODES.includes(mode))
      throw new TypeError(`mode must be one of ${LIFECYCLE_MODES.join(', ')}`);
    this.#mode = mode;
    for (const listener of this.#listeners) callSafely(() => listener(mode));
  }

  /** Calls `listener` after each change of the mode, until the returned function is called. */
  onMode(listener: (mode: LifecycleMode) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What runs in this process: `backup`, `restore`, `prune`, …; undefined when nothing does. */
  get running(): string | undefined {
    return this.#directory.running;
  }

  /** The runs on record, oldest first, also of earlier processes. */
  async runs(): Promise<RunRecord[]> {
    return [...(await this.#directory.runs())];
  }

  /**
   * Finishes what a crash interrupted: rolls a restore forward or back, records interrupted runs as failed, removes partial
   * folders. `CONFLICT` when another process is in the middle of a restore. Without a data directory there is nothing to do.
   */
  recover(): Promise<Recovery> {
    return this.#directory.recover();
  }
}

/** What a lifecycle keeps to this package: the admission of runs. */
export const directoryOf = (lifecycle: Lifecycle): DataDirectory => directoryIn(lifecycle);

export const lifecycleOption = () =>
  optional(
    z.custom<Lifecycle>((value) => value instanceof Lifecycle, 'must be a Lifecycle'),
    { description: 'What the coordinators of one data directory share.', without: 'one of its own' },
  );

/** Both name a folder. If they name two, neither can be meant. */
export function requireSameFolder(what: string, dataDir: string, lifecycle: Lifecycle | undefined): void {
  if (lifecycle === undefined || directoryOf(lifecycle).folder.path === resolve(dataDir)) return;
  throw new TypeError(`${what}: dataDir is ${dataDir}, and the lifecycle is that of ${lifecycle.dataDir}`);
}
