import { LogCheck } from '../engine/leveldb/check-log.ts';
import type { OpenFile } from '../env/file-system.ts';
import type { RunControl } from '../env/run-control.ts';
import { decodeBatchHeader, scanBatch } from '../format/leveldb/batch.ts';
import { LogDecoder, type LogEnd, type LogItem } from '../format/leveldb/log.ts';
import type { Entry, Taking } from './source.ts';
import { readWhatCanBe } from './unreadable.ts';

const PIECE_BYTES = 1024 * 1024;

/** Hands over the writes of all records of a log whose checksums hold. What the check of a log finds wrong is lost. */
export async function salvageLog(
  file: OpenFile,
  path: string,
  { take, lose, doubt }: Taking,
  control: RunControl,
): Promise<void> {
  const decoder = new LogDecoder();
  const check = new LogCheck(path);
  const read = await readThrough(file, decoder, control, {
    take: (items) => take(writesOf(items, check)),
    unreadable: (offset, length, code) =>
      lose({ path, offset, what: `${length} bytes cannot be read (${code})` }),
  });
  for (const { severity, offset, message } of check.findings.list) {
    if (severity === 'error') lose({ path, offset, what: message });
  }
  const tornAt = check.unfinishedAt ?? read.tornAt;
  if (tornAt !== undefined) {
    const what = 'the last record is not complete; if it was acknowledged, it is lost';
    lose({ path, offset: tornAt, what });
  }
  if (doubt === undefined) return;
  await readThrough(file, new LogDecoder(0, true), control, {
    take: (items) => doubt(writesOf(items, new LogCheck(path), true)),
    unreadable: () => undefined, // told above
  });
}

async function readThrough(
  file: OpenFile,
  decoder: LogDecoder,
  control: RunControl,
  {
    take,
    unreadable,
  }: {
    readonly take: (items: Iterable<LogItem>) => Promise<void>;
    readonly unreadable: Parameters<typeof readWhatCanBe>[3];
  },
): Promise<LogEnd> {
  const { sizeBytes } = await file.stat();
  const buffer = Buffer.allocUnsafe(Math.min(PIECE_BYTES, sizeBytes));
  for (let at = 0; at < sizeBytes; ) {
    control.checkCancelled();
    const piece = buffer.subarray(0, Math.min(buffer.length, sizeBytes - at));
    const count = await readWhatCanBe(file, piece, at, unreadable);
    if (count === 0) break;
    control.addBytes(count);
    await take(decoder.push(piece.subarray(0, count)));
    at += count;
  }
  const rest = decoder.finish();
  const items: LogItem[] = [];
  let next = rest.next();
  for (; !next.done; next = rest.next()) items.push(next.value);
  await take(items);
  return next.value;
}

/**
 * By key: of several writes of one key the last counts.
 *
 * @param isDoubtful Of a batch that is damaged, the writes before the damage count, too.
 */
function writesOf(items: Iterable<LogItem>, check: LogCheck, isDoubtful = false): Entry[] {
  const newest = new Map<string, Entry>();
  for (const item of items) {
    check.take(item);
    if (item.kind !== 'record') continue;
    const header = decodeBatchHeader(item.payload);
    if (header === undefined || (scanBatch(item.payload) !== undefined && !isDoubtful)) continue;
    let version = header.sequence;
    scanBatch(item.payload, (operation) => {
      const key = Buffer.from(operation.key);
      const value = operation.type === 'put' ? Buffer.from(operation.value) : undefined;
      newest.set(key.toString('latin1'), { key, version: version++, value });
    });
  }
  return [...newest.values()];
}
