import type { OpenFile } from '../../env/file-system.ts';
import { readFully } from '../../env/io.ts';
import { StillpointError } from '../../errors.ts';
import { decodeBatchHeader } from '../../format/leveldb/batch.ts';
import {
  BLOCK_BYTES,
  beginsRecord,
  fragmentType,
  HEADER_BYTES,
  LogDecoder,
} from '../../format/leveldb/log.ts';

export interface LogCut {
  /** Bytes up to the end of the last complete record. */
  readonly sizeBytes: number;
  /** Sequence of the last operation in it; undefined when the log holds none. */
  readonly lastSequence: bigint | undefined;
}

const LOOKS = 16;

class GotShorter extends Error {}

async function readExactly(file: OpenFile, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  if ((await readFully(file, bytes, position)) !== length) throw new GotShorter();
  return bytes;
}

/**
 * How many of the first `sizeBytes` bytes of a log are complete records. Reads only the end, from the last block that begins
 * with a record. Damaged bytes are not cut off, so that the proof of the copy reports them. Rejects with `SOURCE_CHANGING` when
 * the file gets shorter each time it is read.
 */
export async function cutLog(file: OpenFile, sizeBytes: number): Promise<LogCut> {
  for (let look = 1; look <= LOOKS; look++) {
    // Writers that map their log make it longer by zeros beforehand, and cut off those that are left when they close it.
    const present = Math.min(sizeBytes, (await file.stat()).sizeBytes);
    try {
      return await cutAt(file, present);
    } catch (error) {
      if (!(error instanceof GotShorter)) throw error;
    }
  }
  throw new StillpointError('SOURCE_CHANGING', `${file.path} got shorter ${LOOKS} times while it was read`, {
    path: file.path,
  });
}

async function cutAt(file: OpenFile, sizeBytes: number): Promise<LogCut> {
  for (let block = Math.floor(Math.max(0, sizeBytes - 1) / BLOCK_BYTES); block >= 0; block--) {
    const offset = block * BLOCK_BYTES;
    if (block > 0 && !(await beginsWithRecord(file, offset, sizeBytes))) continue;
    const tail = await readTail(file, offset, sizeBytes);
    if (tail.isDamaged) return { sizeBytes, lastSequence: tail.lastSequence };
    if (tail.records > 0 || block === 0) return { sizeBytes: tail.end, lastSequence: tail.lastSequence };
  }
  return { sizeBytes: 0, lastSequence: undefined };
}

async function beginsWithRecord(file: OpenFile, offset: number, sizeBytes: number): Promise<boolean> {
  if (sizeBytes - offset < HEADER_BYTES) return false;
  return beginsRecord(fragmentType(await readExactly(file, offset, HEADER_BYTES)));
}

interface Tail {
  readonly records: number;
  readonly end: number;
  readonly isDamaged: boolean;
  readonly lastSequence: bigint | undefined;
}

async function readTail(file: OpenFile, offset: number, sizeBytes: number): Promise<Tail> {
  const decoder = new LogDecoder(offset);
  let records = 0;
  let end = offset;
  let isDamaged = false;
  let lastSequence: bigint | undefined;
  const take = (items: ReturnType<LogDecoder['push']> | ReturnType<LogDecoder['finish']>): void => {
    for (const item of items) {
      if (item.kind === 'damage') {
        isDamaged = true;
        continue;
      }
      if (item.kind === 'unfinished') continue; // the log ends with the record before, or another one follows
      records++;
      end = item.end;
      const header = decodeBatchHeader(item.payload);
      if (header !== undefined && header.count > 0)
        lastSequence = header.sequence + BigInt(header.count) - 1n;
    }
  };
  for (let at = offset; at < sizeBytes; at += BLOCK_BYTES) {
    take(decoder.push(await readExactly(file, at, Math.min(BLOCK_BYTES, sizeBytes - at))));
  }
  take(decoder.finish());
  return { records, end, isDamaged, lastSequence };
}
