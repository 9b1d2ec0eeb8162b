import { join } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import { withFile } from '../../env/io.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { StillpointError } from '../../errors.ts';
import { CURRENT, encodeCurrent, manifestName, parseFileName } from '../../format/leveldb/file-name.ts';
import { encodeLog, LogDecoder } from '../../format/leveldb/log.ts';
import { Version } from '../../format/leveldb/version.ts';
import { decodeVersionEdit, encodeVersionEdit } from '../../format/leveldb/version-edit.ts';
import type { RewrittenFiles } from '../engine.ts';
import { readCurrent } from './directory.ts';
import { readVersion } from './read-version.ts';

/**
 * A MANIFEST of one edit that says the same as the one in use. LevelDB appends an edit at every compaction, and some programs never let
 * it begin a new file: it reaches gigabytes, and the next opening fails for want of memory.
 */
export async function rewriteManifest(fs: FileSystem, dir: string, run: TaskRun): Promise<RewrittenFiles> {
  const old = await readCurrent(fs, dir);
  const version =
    old === undefined
      ? `${CURRENT} names none`
      : await withFile(fs, join(dir, old), 'read', (file) => readVersion(file, run));
  if (old === undefined || typeof version === 'string') {
    throw new StillpointError('SOURCE_DAMAGED', `the MANIFEST of ${dir} cannot be read: ${version}`, {
      path: dir,
    });
  }
  // A log begun after the last edit has a number that the MANIFEST does not know of.
  const numbers = (await fs.list(dir)).map(({ name }) => parseFileName(name)?.number ?? 0);
  const number = numbers.reduce((most, next) => Math.max(most, next + 1), version.nextFile!);
  version.nextFile = number + 1;
  const name = manifestName(number);
  const bytes = encodeLog([encodeVersionEdit(version.toEdit())]);
  requireSame(version, bytes, dir);
  return {
    created: [{ path: name, bytes }],
    replaced: [{ path: CURRENT, bytes: encodeCurrent(name) }],
    removed: [old],
  };
}

/** What is written is read again by the reader of every MANIFEST. */
function requireSame(version: Version, bytes: Buffer, dir: string): void {
  const read = new Version();
  const decoder = new LogDecoder();
  for (const items of [decoder.push(bytes), decoder.finish()]) {
    for (const item of items) {
      const edit = item.kind === 'record' ? decodeVersionEdit(item.payload) : item.message;
      if (typeof edit !== 'string') read.apply(edit);
    }
  }
  if (encodeVersionEdit(read.toEdit()).equals(encodeVersionEdit(version.toEdit()))) return;
  throw new StillpointError('COPY_DAMAGED', `the new MANIFEST of ${dir} does not say what the old one says`, {
    path: dir,
  });
}
