import type { BlockUse } from '../../env/block-use.ts';
import { withBuffer } from '../../env/buffers.ts';
import type { OpenFile } from '../../env/file-system.ts';
import { readFully } from '../../env/io.ts';
import type { TaskRun } from '../../env/run-control.ts';
import {
  liveBytes,
  ringBytes,
  ringExtents,
  SEGMENT_HEADER_BYTES,
  type SectionHeader,
  segmentHeaderOffset,
  type WalExtent,
  type WalGeometry,
} from '../../format/lsm/wal.ts';
import { type ReplayResult, WalReplay } from '../../format/lsm/wal-replay.ts';
import { type Summed, Sums } from '../../format/sums.ts';

export type ReplayedFile = Summed & { readonly result: ReplayResult };

export interface Log {
  readonly file: OpenFile;
  readonly sizeBytes: number;
  readonly geometry: WalGeometry;
  readonly header: SectionHeader;
  /** Whether the checksums of the file are wanted. */
  readonly withSums: boolean;
}

/**
 * Reads a log once, in the order of its ring: from the physical place of `start` to the file's end, then from the beginning up
 * to there, so that the live range goes through the replay as it comes. The checksums of the whole file are put together from
 * the two halves.
 *
 * A log is mostly hole, and reading half a gigabyte of zeros would take longer than most snapshots. So only the live range and
 * the headers are read where the file system's block count proves that the rest is empty, or where nobody asks for checksums.
 */
export async function replayFile(log: Log, run: TaskRun): Promise<ReplayedFile> {
  if (!log.withSums) {
    const known = knownStretches(log, READ_ALIGNMENT);
    const bytes = known.reduce((sum, { length }) => sum + length, 0);
    const replayed = await new Reading(log, run).read(known);
    run.skipBytes(log.sizeBytes - Math.min(bytes, log.sizeBytes));
    return { ...replayed, crc32: 0 };
  }
  const use = await settledUse(log.file);
  if (use !== undefined) {
    const known = knownStretches(log, use.blockBytes);
    const blocks = known.reduce((sum, { length }) => sum + length, 0) / use.blockBytes;
    // More blocks than the known stretches have: all of the file has to be read.
    if (use.atMost(known.length) <= blocks + 1) {
      const reading = new Reading(log, run, use.blockBytes);
      const replayed = await reading.read(known);
      if (use.atMost(reading.runs) <= reading.dataBlocks) {
        run.skipBytes(log.sizeBytes - Math.min(blocks * use.blockBytes, log.sizeBytes));
        return replayed;
      }
    }
  }
  return new Reading(log, run).read([{ offset: 0, length: log.sizeBytes }]);
}

/**
 * The block count after a sync. Before a sync it may include blocks of metadata, or lack blocks that are not allocated yet.
 * Undefined where the count proves nothing.
 */
async function settledUse(file: OpenFile): Promise<BlockUse | undefined> {
  if (file.blockUse === undefined) return undefined;
  try {
    await file.sync();
  } catch {
    return undefined; // then all of it is read
  }
  return file.blockUse();
}

/** What the usual file systems read at once. */
const READ_ALIGNMENT = 4096;

/** Whole blocks around the headers and what is live, in rising order. */
function knownStretches({ geometry, header, sizeBytes }: Log, blockBytes: number): WalExtent[] {
  const pieces = ringExtents(geometry, header.start, liveBytes(geometry, header));
  for (let index = 0; index < geometry.segmentCount; index++) {
    pieces.push({ offset: segmentHeaderOffset(geometry, index), length: SEGMENT_HEADER_BYTES });
  }
  pieces.push({ offset: 0, length: 1 }, { offset: sizeBytes - 1, length: 1 });
  const known: { offset: number; length: number }[] = [];
  for (const piece of pieces.sort((a, b) => a.offset - b.offset)) {
    const offset = Math.floor(piece.offset / blockBytes) * blockBytes;
    const end = Math.ceil((piece.offset + piece.length) / blockBytes) * blockBytes;
    const last = known.at(-1);
    if (last !== undefined && offset <= last.offset + last.length) {
      last.length = Math.max(last.length, end - last.offset);
    } else known.push({ offset, length: end - offset });
  }
  return known;
}

/** One pass over stretches of a log; what lies between them counts as zeros. */
class Reading {
  /** Blocks that are not all zero. */
  dataBlocks = 0;
  /** Stretches of such blocks, two blocks or more apart. */
  runs = 0;
  readonly #log: Log;
  readonly #run: TaskRun;
  readonly #blockBytes: number | undefined;
  readonly #replay: WalReplay;
  readonly #extents: readonly WalExtent[];
  readonly #blocks: Uint8Array;
  #nextExtent = 0;

  /** @param blockBytes Given if the blocks with data are to be counted. */
  constructor(log: Log, run: TaskRun, blockBytes?: number) {
    this.#log = log;
    this.#run = run;
    this.#blockBytes = blockBytes;
    const { geometry, header, sizeBytes } = log;
    const live = liveBytes(geometry, header);
    this.#extents = ringExtents(geometry, header.start, live);
    this.#replay = new WalReplay({ start: header.start, liveBytes: live, ringBytes: ringBytes(geometry) });
    this.#blocks = new Uint8Array(blockBytes === undefined ? 0 : Math.ceil(sizeBytes / blockBytes));
  }

  /** @param stretches In rising order; what is live lies within them. */
  read(stretches: readonly WalExtent[]): Promise<ReplayedFile> {
    return withBuffer(async (buffer) => {
      const pivot = this.#extents[0]?.offset ?? 0;
      const back = await this.#readPart(buffer, stretches, pivot, this.#log.sizeBytes);
      const whole = await this.#readPart(buffer, stretches, 0, pivot);
      whole.append(back);
      this.#count();
      return { ...whole.result(), result: this.#replay.finish() };
    });
  }

  async #readPart(buffer: Buffer, stretches: readonly WalExtent[], from: number, to: number): Promise<Sums> {
    const sums = new Sums(this.#log.withSums);
    const isEnd = to === this.#log.sizeBytes;
    for (const { offset, length } of stretches) {
      const end = Math.min(offset + length, to);
      for (let at = Math.max(offset, from); at < end; ) {
        this.#run.checkCancelled();
        const count = await readFully(
          this.#log.file,
          buffer.subarray(0, Math.min(buffer.length, end - at)),
          at,
        );
        if (count === 0) return sums;
        const chunk = buffer.subarray(0, count);
        sums.addZeros(at - from - sums.sizeBytes);
        sums.add(chunk);
        this.#note(chunk, at);
        this.#run.addBytes(count);
        this.#nextExtent = feed(this.#replay, this.#extents, this.#nextExtent, chunk, at);
        at += count;
      }
    }
    // A last stretch reaches the end of the file: whether that is where it was expected is known by then.
    if (!isEnd) sums.addZeros(to - from - sums.sizeBytes);
    return sums;
  }

  #note(chunk: Buffer, at: number): void {
    const size = this.#blockBytes;
    if (size === undefined) return;
    for (let from = 0; from < chunk.length; ) {
      const block = Math.floor((at + from) / size);
      const end = Math.min((block + 1) * size - at, chunk.length);
      if (!isZeros(chunk, from, end)) this.#blocks[block] = 1;
      from = end;
    }
  }

  #count(): void {
    let last = Number.NEGATIVE_INFINITY;
    for (let block = 0; block < this.#blocks.length; block++) {
      if (this.#blocks[block] === 0) continue;
      this.dataBlocks++;
      if (block - last > 2) this.runs++;
      last = block;
    }
  }
}

function isZeros(bytes: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (bytes[at] !== 0) return false;
  return true;
}

/** Hands to the replay what of the extents lies in this chunk; returns the extent to go on with. */
function feed(
  replay: WalReplay,
  extents: readonly WalExtent[],
  from: number,
  chunk: Buffer,
  chunkOffset: number,
): number {
  let next = from;
  for (; next < extents.length; next++) {
    const { offset, length } = extents[next]!;
    const begin = Math.max(offset - chunkOffset, 0);
    const end = Math.min(offset + length - chunkOffset, chunk.byteLength);
    if (begin >= end) break;
    replay.push(chunk.subarray(begin, end));
    if (offset + length > chunkOffset + chunk.byteLength) break;
  }
  return next;
}
