import type { FileCheck, FileCheckRequest } from '../../engine/engine.ts';
import type { FileSystem } from '../../env/file-system.ts';
import type { TaskRun } from '../../env/run-control.ts';
import type { Standing } from '../store/known-snapshot.ts';
import type { ParsedManifest } from '../store/manifest.ts';
import type { InChunks, WriteManifestArgs } from '../store/manifest-bytes.ts';
import type { FilePair } from './compare-files.ts';
import type { Compressed, CompressJob } from './compress-files.ts';
import type { CopyJob, CopyResult } from './copy-files.ts';
import type { Digest, DigestJob } from './digest-files.ts';

export interface CheckFilesArgs {
  /** The folder that the paths are relative to. */
  readonly root: string;
  readonly engine: string;
  /** Where a thread finds it, unless it is built in. */
  readonly engineModule?: string | undefined;
  readonly files: readonly FileCheckRequest[];
}

type Task<Args, Result> = (fs: FileSystem, args: Args, run: TaskRun) => Promise<Result>;

/** The work that runs in worker threads: everything that grows with the bytes or with the number of files. */
export type Tasks = {
  copyFiles: Task<readonly CopyJob[], CopyResult[]>;
  syncFiles: Task<readonly string[], void>;
  checkFiles: Task<CheckFilesArgs, FileCheck[]>;
  compareFiles: Task<readonly FilePair[], boolean[]>;
  digestFiles: Task<readonly DigestJob[], Digest[]>;
  compressFiles: Task<CompressJob, Compressed | null>;
  /** By the path of the file. */
  readManifest: Task<string, InChunks<ParsedManifest> | undefined>;
  writeManifest: Task<WriteManifestArgs, void>;
  /** By their places. */
  lookAtSnapshots: Task<readonly string[], (Standing | undefined)[]>;
};
