import type { FileCheck } from '../../engine/engine.ts';
import { engineInThread } from '../../engine/index.ts';
import type { FileSystem, OpenFile } from '../../env/file-system.ts';
import { withFile } from '../../env/io.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { inlinePool } from '../../env/worker-pool.ts';
import { placeOf } from '../store/layout.ts';
import { compareFiles } from './compare-files.ts';
import { compressFiles } from './compress-files.ts';
import { copyFiles } from './copy-files.ts';
import { digestFiles } from './digest-files.ts';
import type { CheckFilesArgs, Tasks } from './signatures.ts';

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

async function lookAtSnapshots(fs: FileSystem, locations: readonly string[]) {
  const { lookInThread } = await import('../store/snapshot-look.ts');
  return lookInThread({ fs, pool: inlinePool(TASKS, fs) }, locations);
}

/** On whichever thread calls it. */
export const TASKS: Tasks = {
  copyFiles,
  syncFiles,
  checkFiles,
  compareFiles,
  digestFiles,
  compressFiles,
  readManifest: async (fs, path) => (await manifestBytes()).readManifestInChunks(fs, path),
  writeManifest: async (fs, args) => (await manifestBytes()).writeManifestInChunks(fs, args),
  lookAtSnapshots,
};
