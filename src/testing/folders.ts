import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Engine, FileCheck } from '../engine/engine.ts';
import type { Finding } from '../engine/report.ts';
import { newId } from '../env/clock.ts';
import type { OpenFile } from '../env/file-system.ts';
import { walk } from '../env/folder-tree.ts';
import { createFile, makeFolders, readExactly, removeTree, withFile, writeFully } from '../env/io.ts';
import { nodeFileSystem as fs } from '../env/node-file-system.ts';
import { RunControl, type TaskRun } from '../env/run-control.ts';
import type { Level } from '../options/choices.ts';

/** Hands over a fresh folder and removes it in every case. */
export async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = join(await fs.realPath(tmpdir()), `stillpoint-engine-${newId()}`);
  await fs.makeFolder(folder);
  try {
    await use(folder);
  } finally {
    await removeTree(fs, folder);
  }
}

export async function readBytes(path: string): Promise<Buffer> {
  return withFile(fs, path, 'read', async (file) => readExactly(file, 0, (await file.stat()).sizeBytes));
}

/** Puts these bytes in the place of a file's content. */
export async function writeBytes(path: string, bytes: Uint8Array): Promise<void> {
  await withFile(fs, path, 'update', async (file) => {
    await writeFully(file, bytes, 0);
    await file.truncate(bytes.byteLength);
  });
}

export async function copyFiles(from: string, to: string, paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    await makeFolders(fs, dirname(join(to, path)));
    await createFile(fs, join(to, path), await readBytes(join(from, path)));
  }
}

/** All that a database could notice of its own files: content, size, inode, mode and time of change. */
export async function fingerprint(dir: string): Promise<readonly string[]> {
  const lines: string[] = [];
  for await (const { path, kind } of walk(fs, dir, ['.lifecycle'])) {
    if (kind !== 'file') continue;
    const { sizeBytes, ino, mode, mtimeNs } = (await fs.inspect(join(dir, path)))!;
    const hash = createHash('sha256')
      .update(await readBytes(join(dir, path)))
      .digest('hex');
    lines.push([path, sizeBytes, ino, mode, mtimeNs, hash].join(' '));
  }
  return lines.sort();
}

export const checkOne = (
  engine: Engine,
  dir: string,
  path: string,
  level: Level = 'full',
  run: TaskRun = new RunControl(),
  wrap: (file: OpenFile) => OpenFile = (file) => file,
): Promise<FileCheck> =>
  withFile(fs, join(dir, path), 'read', (file) =>
    engine.checkFile(wrap(file), { path, level, live: false }, run),
  );

/** What the engine alone says of a folder that nobody writes to. */
export async function checkAll(
  engine: Engine,
  dir: string,
  paths: readonly string[],
  level: Level = 'full',
): Promise<Map<string, FileCheck>> {
  const checks = new Map<string, FileCheck>();
  for (const path of paths) checks.set(path, await checkOne(engine, dir, path, level));
  return checks;
}

export const findingsOf = (
  engine: Engine,
  checks: ReadonlyMap<string, FileCheck>,
  level: Level = 'full',
): Finding[] => [
  ...[...checks.values()].flatMap(({ findings }) => findings),
  ...engine.checkConsistency(checks, { level, live: false }).findings,
];
