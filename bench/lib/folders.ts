import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { quoted, run, shell } from './command.ts';
import { removeAll } from './workspace.ts';

/** Regular files, absolute, at any depth; what belongs to snapshots is not counted. */
export function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !relative(folder, path).startsWith('.lifecycle'));
}

/** The log of `lsm` is a ring that is written over again and again; what of it is still needed is next to nothing. */
const dataFiles = (folder: string): string[] =>
  filesIn(folder).filter((path) => basename(path) !== 'lsm.wal');

/** What a copy has to hold: holes do not count. */
export const allocatedBytes = (folder: string): number => bytesOf(dataFiles(folder));

/** What no other snapshot or database has a name for. */
export const ownFiles = (folder: string): string[] =>
  filesIn(folder).filter((path) => statSync(path).nlink === 1);

const bytesOf = (files: readonly string[]): number =>
  files.reduce((sum, path) => sum + statSync(path).blocks * 512, 0);

const TABLE = /\.(sst|ldb|dat)$/;

/**
 * A second database that shares the tables of the first, which no engine changes once they are written: as good as a copy,
 * and made in no time.
 */
export async function fork(from: string, into: string): Promise<string> {
  removeAll(into);
  await shell(`cp -al ${quoted(from)} ${quoted(into)}`);
  removeAll(join(into, '.lifecycle'));
  const others = filesIn(into).filter((path) => !TABLE.test(path));
  for (const path of others) {
    const original = join(from, relative(into, path));
    await shell(`cp -a --remove-destination ${quoted(original)} ${quoted(path)}`);
  }
  return into;
}

/** Refuses to fill a disk: `bytes` of data, and a copy of it. */
export function requireSpace(folder: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  if (free < 2 * bytes) {
    const gigabytes = (value: number) => `${(value / 1e9).toFixed(1)} GB`;
    throw new Error(`${folder} has ${gigabytes(free)} free; ${gigabytes(2 * bytes)} are needed`);
  }
}

const buffer = Buffer.allocUnsafe(1024 * 1024);

/** What the machine can do at best with one thread: every byte read once; of a file with holes, as many as it occupies. */
export function plainRead(folder: string): void {
  for (const path of dataFiles(folder)) {
    const descriptor = openSync(path, 'r');
    let left = Math.min(statSync(path).size, statSync(path).blocks * 512);
    while (left > 0) {
      const count = readSync(descriptor, buffer, 0, Math.min(left, buffer.length), null);
      if (count === 0) break;
      left -= count;
    }
    closeSync(descriptor);
  }
}

/** And every byte read once and written once, and all made durable at the end. */
export async function plainCopy(folder: string, into: string, files = dataFiles(folder)): Promise<void> {
  for (const path of files) {
    const copy = join(into, relative(folder, path));
    mkdirSync(dirname(copy), { recursive: true });
    const from = openSync(path, 'r');
    const to = openSync(copy, 'wx');
    let left = Math.min(statSync(path).size, statSync(path).blocks * 512);
    while (left > 0) {
      const count = readSync(from, buffer, 0, Math.min(left, buffer.length), null);
      if (count === 0) break;
      writeSync(to, buffer, 0, count);
      left -= count;
    }
    closeSync(from);
    closeSync(to);
  }
  await run('sync', ['-f', into]);
}
