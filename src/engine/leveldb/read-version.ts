import type { OpenFile } from '../../env/file-system.ts';
import { readFully } from '../../env/io.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { LogDecoder, type LogItem } from '../../format/leveldb/log.ts';
import { Version } from '../../format/leveldb/version.ts';
import { decodeVersionEdit } from '../../format/leveldb/version-edit.ts';

/** Small: decoding one piece blocks the thread, which may be the host's main one. */
const PIECE_BYTES = 128 * 1024;

/**
 * What all edits of a MANIFEST add up to, or why it cannot be trusted. An incomplete last record is what a crash leaves, and does not
 * count. Memory does not grow with the size of the file.
 */
export async function readVersion(file: OpenFile, run: TaskRun): Promise<Version | string> {
  const version = new Version();
  const decoder = new LogDecoder();
  const piece = Buffer.allocUnsafe(PIECE_BYTES);
  for (let at = 0; ; ) {
    run.checkCancelled();
    const count = await readFully(file, piece, at);
    const problem = applyAll(decoder.push(piece.subarray(0, count)), version);
    if (problem !== undefined) return problem;
    run.addBytes(count);
    at += count;
    if (count < piece.length) break;
  }
  const problem = applyAll(decoder.finish(), version);
  if (problem !== undefined) return problem;
  const { missingFields } = version;
  return missingFields.length > 0 ? `without ${missingFields.join(', ')}` : version;
}

function applyAll(items: Iterable<LogItem>, version: Version): string | undefined {
  for (const item of items) {
    if (item.kind !== 'record') return item.message;
    const edit = decodeVersionEdit(item.payload);
    if (typeof edit === 'string') return edit;
    version.apply(edit);
  }
  return undefined;
}
