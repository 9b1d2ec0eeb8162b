import type { Engine, FileCheck, FileCheckRequest } from '../engine/engine.ts';
import { engineByName } from '../engine/index.ts';
import { checkPlainFile } from '../engine/plain.ts';
import type { FileSystem, OpenFile } from '../env/file-system.ts';
import { withFile } from '../env/io.ts';
import type { TaskRun } from '../env/worker-pool.ts';
import { type CopyJob, copyFiles } from './copy.ts';
import { placeOf } from './layout.ts';
import { SummedFile } from './summed-file.ts';

export interface CheckFilesArgs {
  /** The folder that the paths are relative to. */
  readonly root: string;
  readonly engine: string;
  readonly files: readonly FileCheckRequest[];
}

async function checkFiles(fs: FileSystem, args: CheckFilesArgs, run: TaskRun): Promise<FileCheck[]> {
  const engine = engineByName(args.engine);
  const checks: FileCheck[] = [];
  for (const request of args.files) {
    const check = await withFile(fs, placeOf(args.root, request.path), 'read', async (file) => {
      // What is live has no manifest that a second checksum could be held against.
      if (request.live) return checkOne(engine, file, request, run);
      const summed = new SummedFile(file);
      const found = await checkOne(engine, summed, request, run);
      return { ...found, crc32c: await summed.sum(found.sizeBytes, run) };
    });
    checks.push(check);
  }
  return checks;
}

async function syncFiles(fs: FileSystem, paths: readonly string[], run: TaskRun): Promise<void> {
  for (const path of paths) {
    run.checkCancelled();
    await withFile(fs, path, 'read', (file) => file.sync());
  }
}

const checkOne = (engine: Engine, file: OpenFile, request: FileCheckRequest, run: TaskRun) =>
  request.level === 'files' ? checkPlainFile(file, run) : engine.checkFile(file, request, run);

/** What runs in worker threads: all work that grows with the bytes. */
export const TASKS = {
  copyFiles: (fs: FileSystem, jobs: readonly CopyJob[], run: TaskRun) => copyFiles(fs, jobs, run),
  syncFiles,
  checkFiles,
};

export type Tasks = typeof TASKS;
