import type { Extent, Patch } from '../../engine/engine.ts';
import { withBuffer } from '../../env/buffers.ts';
import type { FileSystem, OpenFile } from '../../env/file-system.ts';
import { readFully } from '../../env/io.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { StillpointError } from '../../errors.ts';
import { Sums } from '../../format/sums.ts';
import { ImageWriter } from './image-writer.ts';

export interface CopyJob {
  /** The file to read. With `fd`, that open descriptor of this process is read, and the path is only for messages. */
  readonly source: { readonly path: string; readonly fd?: number };
  /** The new file. Rejects when the name exists, except with `range`. */
  readonly target: string;
  /** What to copy. Default: the whole file. */
  readonly image?: {
    readonly sizeBytes: number;
    readonly extents: readonly Extent[];
    readonly patches: readonly Patch[];
  };
  /** Whether CRC-32C is wanted, too: see `Engine.sealsWithCrc32`. */
  readonly withCrc32c?: boolean;
  /** Only the bytes from `from` up to `to`, or to the end: one of several ranges of a target that exists. */
  readonly range?: { readonly from: number; readonly to?: number };
}

export interface CopyResult {
  /** Of the copy, or of the range. */
  readonly sizeBytes: number;
  readonly crc32: number;
  readonly crc32c?: number | undefined;
  /** What is no hole in the copy. */
  readonly writtenBytes: number;
  /** The source ended before the last extent did: it changed meanwhile. */
  readonly short: boolean;
}

/** Copies files one after another. Each byte is read once and summed on the way. Nothing is synced. */
export function copyFiles(fs: FileSystem, jobs: readonly CopyJob[], run: TaskRun): Promise<CopyResult[]> {
  return withBuffer(async (buffer) => {
    const results: CopyResult[] = [];
    for (const job of jobs) results.push(await copyFile(fs, job, buffer, run));
    return results;
  });
}

/** The result for a whole file, from the results of its ranges in order. */
export function joinRanges(ranges: readonly CopyResult[]): CopyResult {
  const sums = new Sums(ranges.every(({ crc32c }) => crc32c !== undefined));
  for (const range of ranges) sums.append(range);
  const writtenBytes = ranges.reduce((sum, range) => sum + range.writtenBytes, 0);
  return { ...sums.result(), writtenBytes, short: ranges.some(({ short }) => short) };
}

async function copyFile(fs: FileSystem, job: CopyJob, buffer: Buffer, run: TaskRun): Promise<CopyResult> {
  const { fd, path } = job.source;
  const pastCache = run.pastCache === 'all';
  // The source of an image is read from memory: its engine may be writing it right now, and has it there.
  const source =
    fd === undefined ? await fs.open(path, 'read', pastCache && job.image === undefined) : fs.adopt(fd, path);
  try {
    const target = await fs.open(job.target, job.range === undefined ? 'create' : 'update', pastCache);
    try {
      const sizeBytes = job.image?.sizeBytes ?? (await source.stat()).sizeBytes;
      const { extents, patches } = job.image ?? { extents: [{ offset: 0, length: sizeBytes }], patches: [] };
      const { from = 0, to = sizeBytes } = job.range ?? {};
      const writer = new ImageWriter(target, from, job.withCrc32c === true, run);
      let short = to > sizeBytes || from > sizeBytes; // the file was longer when the ranges were chosen
      for (const piece of clip(layOut(sizeBytes, extents, patches), from, to)) {
        if (piece.bytes === undefined) short ||= !(await copyExtent(source, piece, buffer, writer));
        else await writer.write(piece.offset, piece.bytes);
      }
      const sums = writer.finish(to);
      // Of several ranges, only the last one may set the size: it cannot cut off what the others write.
      if (job.range?.to === undefined) await target.truncate(sizeBytes);
      return { ...sums.result(), writtenBytes: writer.writtenBytes, short };
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

async function copyExtent(
  source: OpenFile,
  piece: Extent,
  buffer: Buffer,
  writer: ImageWriter,
): Promise<boolean> {
  for (let done = 0; done < piece.length; ) {
    const chunk = buffer.subarray(0, Math.min(buffer.byteLength, piece.length - done));
    const count = await readFully(source, chunk, piece.offset + done);
    await writer.write(piece.offset + done, chunk.subarray(0, count), source.isMostlyHoles);
    if (count < chunk.byteLength) return false;
    done += count;
  }
  return true;
}

interface Piece extends Extent {
  readonly bytes?: Uint8Array;
}

/** Extents with patches laid over them: pieces that rise by offset and do not overlap. */
function layOut(sizeBytes: number, extents: readonly Extent[], patches: readonly Patch[]): Piece[] {
  const over: Piece[] = patches
    .map(({ offset, bytes }) => ({ offset, length: bytes.byteLength, bytes }))
    .sort((a, b) => a.offset - b.offset);
  const pieces: Piece[] = [...over];
  for (const extent of extents) {
    let from = extent.offset;
    const end = extent.offset + extent.length;
    for (const patch of over) {
      if (patch.offset + patch.length <= from || patch.offset >= end) continue;
      if (patch.offset > from) pieces.push({ offset: from, length: patch.offset - from });
      from = patch.offset + patch.length;
    }
    if (from < end) pieces.push({ offset: from, length: end - from });
  }
  pieces.sort((a, b) => a.offset - b.offset);
  let position = 0;
  for (const { offset, length } of pieces) {
    if (offset < position || length < 0 || offset + length > sizeBytes) {
      throw new StillpointError(
        'HOOK_INVALID',
        'a capture plan has extents or patches that overlap or leave the file',
      );
    }
    position = offset + length;
  }
  return pieces;
}

/** The parts of the pieces that lie within a range. */
function* clip(pieces: readonly Piece[], from: number, to: number): Generator<Piece> {
  for (const { offset, length, bytes } of pieces) {
    const begin = Math.max(offset, from);
    const end = Math.min(offset + length, to);
    if (begin >= end) continue;
    yield {
      offset: begin,
      length: end - begin,
      ...(bytes && { bytes: bytes.subarray(begin - offset, end - offset) }),
    };
  }
}
