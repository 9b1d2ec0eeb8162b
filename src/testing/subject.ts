import type { CheckpointHook } from '../coordinator/backup.ts';
import type { Engine } from '../engine/engine.ts';

/** A database of the engine under test, open in a folder of the suite. */
export interface TestDatabase {
  /** Makes write number `n`; resolves when the database has acknowledged it. The suite counts from 1, one write at a time. */
  write(n: number): Promise<void>;
  /** The engine with this database attached, where the engine has such a form. Default: the engine under test. */
  readonly engine?: Engine;
  /** What a user of the engine would hand to `BackupCoordinator`. Default: none, captures come from outside. */
  readonly checkpoint?: CheckpointHook;
  /** Resolves when nothing of it writes any more. */
  close(): Promise<void>;
}

/** What an engine does not promise. Each default is the full promise; tests of what is not promised are left out. */
export interface EngineSupports {
  /** `detect` finds the engine's folders. Default true. */
  readonly detect?: boolean;
  /** A plan from outside is one state although somebody writes. Default true; false where the checkpoint hook is needed. */
  readonly planUnderWrites?: boolean;
  /** Whether a checksum covers the byte at `offset`, so that any change of it has to be found. Default: always. */
  readonly isCovered?: (path: string, offset: number, bytes: Uint8Array) => boolean;
  /** Whether the engine notices that a copy lacks this file, without any manifest. Default: always. */
  readonly isMissed?: (path: string, paths: readonly string[]) => boolean;
}

export interface EngineTestOptions {
  /** Makes one test: `test` of `node:test`, of Vitest, or any other function with these two arguments. */
  readonly test: (name: string, run: () => Promise<void>) => unknown;
  /** What `registerEngine` resolved to, or a built-in engine. */
  readonly engine: Engine;
  /** Makes a database in an empty folder. It should hold some data only after some writes. */
  readonly createDatabase: (dir: string) => Promise<TestDatabase>;
  /**
   * Opens a copy with the engine's own code, as after a crash, and resolves to the numbers of the writes that it holds. Rejects when the
   * database cannot be opened. The folder is the suite's; it may be changed.
   */
  readonly readCopy: (dir: string) => Promise<readonly number[]>;
  /** Writes before a copy is proven: enough for files of each kind. Default: 200. */
  readonly writes?: number;
  readonly supports?: EngineSupports;
}

/** The options with their defaults. */
export type Subject = Required<EngineTestOptions> & { readonly supports: Required<EngineSupports> };
