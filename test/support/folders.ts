import { createHash } from 'node:crypto';
import {
  type Dirent,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { temporaryFolder } from './temp.ts';

/** Gives a file a time of change that proves something: older than two seconds, and with parts of a second. */
export function setOldTime(file: string): void {
  const time = new Date(Math.floor(Date.now() / 1000) * 1000 - 9_500);
  utimesSync(file, time, time);
}

/** Writes files given as `{ path: content }` below `root`. */
export function writeTree(root: string, files: Readonly<Record<string, string | Buffer>>): void {
  mkdirSync(root, { recursive: true });
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
}

/** All that stands below `root`; links are not entered, as Node from version 22 on would. */
export function entriesBelow(root: string): Dirent[] {
  return readdirSync(root, { withFileTypes: true }).flatMap((entry) => [
    entry,
    ...(entry.isDirectory() ? entriesBelow(join(root, entry.name)) : []),
  ]);
}

/** Every file below `root` with the hash of its content, sorted; what stands in `except` at the root is left out. */
export function readTree(root: string, except: readonly string[] = ['.lifecycle']): Record<string, string> {
  const tree: Record<string, string> = {};
  for (const entry of entriesBelow(root)) {
    const path = join(entry.parentPath, entry.name);
    const relative = path.slice(root.length + 1);
    if (except.includes(relative.split('/')[0]!)) continue;
    if (entry.isSymbolicLink()) tree[relative] = `link to ${readlinkSync(path)}`;
    else if (entry.isFile()) tree[relative] = createHash('sha256').update(readFileSync(path)).digest('hex');
    else if (!entry.isDirectory()) tree[relative] = 'special';
  }
  return Object.fromEntries(Object.entries(tree).sort());
}

/** What a writer could notice of its own files: content aside, size and time of the last change. */
export const statsOf = (root: string, paths: readonly string[]): string[] =>
  paths.map((path) => {
    const { size, mtimeMs, ino, mode } = lstatSync(join(root, path));
    return `${path} ${size} ${mtimeMs} ${ino} ${mode}`;
  });

export const PLAIN_FILES: Readonly<Record<string, string | Buffer>> = {
  'a.txt': 'first',
  empty: '',
  'deep/er/b.bin': Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff)),
  // Only the one at the root belongs to stillpoint.
  'deep/.lifecycle/kept': 'not ours',
  'zeros.bin': Buffer.concat([Buffer.alloc(1_000_000), Buffer.from('end')]),
};

/** A data directory of plain files, for the engine `files`. */
export async function plainDirectory(files = PLAIN_FILES): Promise<string> {
  const dir = join(await temporaryFolder(), 'data');
  writeTree(dir, files);
  return dir;
}
