import type { FileCheck, FileCheckRequest } from '../../engine/engine.ts';
import { engineInThread } from '../../engine/index.ts';
import type { FileSystem, OpenFile } from '../../env/file-system.ts';
import { withFile } from '../../env/io.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { placeOf } from '../store/layout.ts';
import type { WriteManifestArgs } from '../store/manifest-bytes.ts';
import { compareFiles, type FilePair } from './compare-files.ts';
import { type CompressJob, compressFiles } from './compress-files.ts';
import { type CopyJob, copyFiles } from './copy-files.ts';
import { type DigestJob, digestFiles } from './digest-files.ts';

export interface CheckFilesArgs {
  /** The folder that the paths are relative to. */
  readonly root: string;
  readonly engine: string;
  /** Where a thread finds it, unless it is built in. */
  readonly engineModule?: string | undefined;
  readonly files: readonly FileCheckRequest[];
}

async function checkFiles(fs: FileSystem, args: CheckFilesArgs, run: TaskRun): Promise<FileCheck[]> {
  const engine = await engineInThread(args.engine, args.engineModule);
  const checks: FileCheck[] = [];
  for (const request of args.files) {
    const read = async (file: OpenFile): Promise<FileCheck> => {
      const { ino, mtimeNs } = await file.stat(); // before the first byte: a later write makes it another file
      const check = await engine.checkFile(file, request, run);
      return { ...check, identity: { ino, mtimeNs }, medium: file.isPastCache === true };
    };
    const pastCache = run.pastCache !== 'nothing';
    checks.push(await withFile(fs, placeOf(args.root, request.path), 'read', read, pastCache));
  }
  return checks;
}

async function syncFiles(fs: FileSystem, paths: readonly string[], run: TaskRun): Promise<void> {
  for (const path of paths) {
    run.checkCancelled();
    await withFile(fs, path, 'read', (file) => file.sync());
  }
}

/** Loaded at first use: few runs have so many files, and every thread would load the schemas. */
const manifestBytes = () => import('../store/manifest-bytes.ts');

/** The work that runs in worker threads: everything that grows with the bytes or with the number of files. */
export const TASKS = {
  copyFiles: (fs: FileSystem, jobs: readonly CopyJob[], run: TaskRun) => copyFiles(fs, jobs, run),
  syncFiles,
  checkFiles,
  compareFiles: (fs: FileSystem, pairs: readonly FilePair[], run: TaskRun) => compareFiles(fs, pairs, run),
  digestFiles: (fs: FileSystem, jobs: readonly DigestJob[], run: TaskRun) => digestFiles(fs, jobs, run),
  compressFiles: (fs: FileSystem, job: CompressJob, run: TaskRun) => compressFiles(fs, job, run),
  readManifest: async (fs: FileSystem, path: string) =>
    (await manifestBytes()).readManifestInChunks(fs, path),
  writeManifest: async (fs: FileSystem, args: WriteManifestArgs) =>
    (await manifestBytes()).writeManifestInChunks(fs, args),
};

export type Tasks = typeof TASKS;
