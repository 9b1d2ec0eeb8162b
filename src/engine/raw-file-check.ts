import { BUFFER_BYTES, withBuffer } from '../env/buffers.ts';
import type { OpenFile } from '../env/file-system.ts';
import { readFully } from '../env/io.ts';
import type { TaskRun } from '../env/run-control.ts';
import { type Summed, Sums } from '../format/sums.ts';
import type { FileCheck, FileCheckRequest, Part } from './engine.ts';

/** Size and checksums of a file whose content nobody knows, or of a part of it. */
export async function checkRawFile(
  file: OpenFile,
  request: Pick<FileCheckRequest, 'live' | 'part'>,
  run: TaskRun,
): Promise<FileCheck> {
  return { ...(await streamFile(file, request, run)), findings: [], counts: {} };
}

/** The checksums of a plain file out of those of its parts. */
export function joinRawParts(parts: readonly FileCheck[], { live }: FileCheckRequest): FileCheck {
  const sums = new Sums(!live);
  for (const part of parts) sums.append(part);
  return { ...sums.result(), findings: [], counts: {} };
}

/**
 * Reads a file once, from begin to end, for its checksums and for `take`, which gets each piece in order; a piece is
 * overwritten by the next one. Sizes and checksums are those of the part, where one is asked for.
 */
export function streamFile(
  file: OpenFile,
  request: Pick<FileCheckRequest, 'live' | 'part'>,
  run: TaskRun,
  take?: (piece: Buffer) => void,
): Promise<Summed> {
  return withBuffer((buffer) => streamInto(buffer, file, request, run, take));
}

async function streamInto(
  buffer: Buffer,
  file: OpenFile,
  { live, part }: Pick<FileCheckRequest, 'live' | 'part'>,
  run: TaskRun,
  take: (piece: Buffer) => void = () => {},
): Promise<Summed> {
  const sums = new Sums(!live);
  const { from, to } = await boundsOf(file, part);
  for (;;) {
    run.checkCancelled();
    const wanted = Math.min(buffer.length, to - from - sums.sizeBytes);
    const piece = buffer.subarray(
      0,
      await readFully(file, buffer.subarray(0, wanted), from + sums.sizeBytes),
    );
    const isHole = sums.add(piece) && file.isMostlyHoles === true;
    take(piece);
    if (isHole) run.skipBytes(piece.length);
    else run.addBytes(piece.length);
    if (piece.length < buffer.length) return sums.result();
  }
}

/** Where a part begins and ends; the last one ends where the file does. */
async function boundsOf(file: OpenFile, part: Part | undefined): Promise<{ from: number; to: number }> {
  if (part === undefined) return { from: 0, to: Number.POSITIVE_INFINITY };
  const { index, count } = part;
  const bytes = Math.ceil((await file.stat()).sizeBytes / count / BUFFER_BYTES) * BUFFER_BYTES;
  return { from: index * bytes, to: index === count - 1 ? Number.POSITIVE_INFINITY : (index + 1) * bytes };
}
