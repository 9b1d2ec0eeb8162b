import { join } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import { readFully, withFile } from '../../env/io.ts';
import { StillpointError } from '../../errors.ts';
import {
  CURRENT,
  describeCurrent,
  type NumberedFile,
  parseCurrent,
  parseFileName,
} from '../../format/leveldb/file-name.ts';

const CURRENT_LIMIT_BYTES = 1024;

// RocksDB uses the same names with other content.
const ROCKSDB = /^(IDENTITY|OPTIONS-\d+)$/;

/**
 * Whether names in `dir` are those of a LevelDB database. One of `CURRENT` and the MANIFEST may be gone: power loss does that, and then
 * the database is damaged and not another folder. Tables with the ending that no other engine uses are enough.
 */
export async function detect(fs: FileSystem, dir: string): Promise<boolean> {
  const names = (await fs.list(dir)).filter(({ kind }) => kind === 'file').map(({ name }) => name);
  return looksLikeLeveldb(names);
}

/** @param names Of all files in one folder. */
export function looksLikeLeveldb(names: readonly string[]): boolean {
  if (names.some((name) => ROCKSDB.test(name))) return false;
  const kinds = new Set(names.map((name) => (name === CURRENT ? CURRENT : parseFileName(name)?.kind)));
  if (names.some(isOwnTable)) return true;
  const hasData = kinds.has('table') || kinds.has('log');
  const heads = Number(kinds.has(CURRENT)) + Number(kinds.has('manifest'));
  return heads === 2 || (heads === 1 && hasData);
}

/** RocksDB and old versions of LevelDB name theirs `.sst`. */
const isOwnTable = (name: string): boolean => name.endsWith('.ldb') && parseFileName(name)?.kind === 'table';

/** The names of all files that are or were part of the state: not `LOCK`, `LOG` or temporary files. */
export async function listFiles(fs: FileSystem, dir: string): Promise<string[]> {
  const files: string[] = [];
  for (const { name, kind } of await fs.list(dir)) {
    if (name !== CURRENT && parseFileName(name) === undefined) continue;
    if (kind !== 'file') throw notRegular(dir, name);
    files.push(name);
  }
  return files.sort();
}

/** The numbers of the logs in one listing of the folder. A listing can miss a file that exists all the time. */
export async function listLogs(fs: FileSystem, dir: string): Promise<number[]> {
  const numbers: number[] = [];
  for (const { name, kind } of await fs.list(dir)) {
    const file: NumberedFile | undefined = parseFileName(name);
    if (file?.kind !== 'log') continue;
    if (kind !== 'file') throw notRegular(dir, name);
    numbers.push(file.number);
  }
  return numbers;
}

/** The name of the MANIFEST in use; undefined when `CURRENT` is absent or names none. */
export async function readCurrent(fs: FileSystem, dir: string): Promise<string | undefined> {
  const content = await readContent(fs, dir);
  return content && parseCurrent(content);
}

/** Why `CURRENT` names no MANIFEST. */
export async function explainCurrent(fs: FileSystem, dir: string): Promise<string> {
  const content = await readContent(fs, dir);
  const stat = await fs.inspect(join(dir, CURRENT));
  return `${CURRENT} ${describeCurrent(content, stat?.sizeBytes)}`;
}

/** The first bytes of one that is longer than any that LevelDB writes: they name no MANIFEST either. */
async function readContent(fs: FileSystem, dir: string): Promise<Buffer | undefined> {
  const path = join(dir, CURRENT);
  const stat = await fs.inspect(path);
  if (stat === undefined) return undefined;
  if (stat.kind !== 'file') throw notRegular(dir, CURRENT);
  return withFile(fs, path, 'read', async (file) => {
    const bytes = Buffer.allocUnsafe(CURRENT_LIMIT_BYTES);
    return bytes.subarray(0, await readFully(file, bytes, 0));
  });
}

const notRegular = (dir: string, name: string): StillpointError =>
  new StillpointError('UNSUPPORTED_FILE', `${join(dir, name)} is not a regular file`, {
    path: join(dir, name),
  });
