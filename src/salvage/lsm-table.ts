import { decompressBlock } from '../engine/lsm/block-payload.ts';
import { findingsOf } from '../engine/lsm/findings.ts';
import { MAX_PIECE_BYTES, readFrame, readIndex } from '../engine/lsm/table-frame.ts';
import type { OpenFile } from '../env/file-system.ts';
import { readExactly } from '../env/io.ts';
import type { RunControl } from '../env/run-control.ts';
import { TABLE_HEADER_BYTES, type TableHeader } from '../format/lsm/table.ts';
import {
  BLOCK_HEADER_BYTES,
  BLOCK_OVERHEAD_BYTES,
  blockDamage,
  EntryCursor,
  ENTRY_HEADER_BYTES as LEAST_ENTRY_BYTES,
} from '../format/lsm/table-block.ts';
import type { IndexEntry } from '../format/lsm/table-index.ts';
import { type Entry, newestOf, type Taking } from './source.ts';
import { readWhatCanBe, unlessUnreadable } from './unreadable.ts';

/** A block that was read, by its place and its keys. */
interface Taken {
  readonly offset: number;
  readonly end: number;
  readonly first: Buffer;
  readonly last: Buffer;
}

/**
 * Hands over the entries of all blocks of a table whose checksum holds: those that the index names, and in what is left between them
 * all that say themselves how long they are. No checksum of its own covers the index.
 */
export async function salvageLsmTable(
  file: OpenFile,
  path: string,
  taking: Taking,
  control: RunControl,
): Promise<void> {
  const { sizeBytes } = await file.stat();
  const findings = findingsOf(path);
  const frame = await unlessUnreadable(
    () => readFrame(file, sizeBytes, findings),
    () => undefined,
  );
  const index = (frame && readIndex(frame, findings)) ?? [];
  const compression = frame?.header.compression ?? 'none';
  const blocksEnd = frame?.indexBytes === undefined ? sizeBytes : frame.footer.indexOffset;
  if (index.length === 0 && blocksEnd > TABLE_HEADER_BYTES) {
    const why = findings.list[0]?.message ?? 'the index names no block';
    taking.lose({ path, offset: null, what: `${why}; blocks were looked for by their checksums` });
  }
  const named = await takeNamed(file, index, { compression, blocksEnd }, taking, control);
  let before: Taken | undefined;
  for (const next of [...named, undefined]) {
    const from = before?.end ?? TABLE_HEADER_BYTES;
    const to = next?.offset ?? blocksEnd;
    if (from < to) await takeBetween(file, path, { from, to, before, next }, taking, control);
    before = next;
  }
}

/** What the index names, and holds; in the order of the file. */
async function takeNamed(
  file: OpenFile,
  index: readonly IndexEntry[],
  { compression, blocksEnd }: { compression: TableHeader['compression']; blocksEnd: number },
  { take, doubt }: Taking,
  control: RunControl,
): Promise<Taken[]> {
  const taken: Taken[] = [];
  for (const { offset, sizeBytes: length } of index) {
    control.checkCancelled();
    // A hostile index could name one block a thousand times.
    const isInPlace = offset >= (taken.at(-1)?.end ?? TABLE_HEADER_BYTES) && offset + length <= blocksEnd;
    if (!isInPlace || length > MAX_PIECE_BYTES) continue;
    const block = await unlessUnreadable(
      () => readExactly(file, offset, length),
      () => undefined,
    );
    const { entries, problem } = block === undefined ? NOTHING : entriesOf(block, offset, compression);
    const [first, last] = [entries[0]?.key, entries.at(-1)?.key];
    if (problem !== undefined || first === undefined || last === undefined) {
      if (block !== undefined && block.length > BLOCK_OVERHEAD_BYTES)
        await doubt?.(newestOf(entriesOf(block, offset, compression, true).entries));
      continue;
    }
    control.addBytes(length);
    await take(entries);
    taken.push({ offset, end: offset + length, first, last });
  }
  return taken;
}

const NOTHING = { entries: [], problem: 'unreadable' } as const;

interface Gap {
  readonly from: number;
  readonly to: number;
  /** The blocks around it. */
  readonly before: Taken | undefined;
  readonly next: Taken | undefined;
}

/** Takes the blocks that stand whole in a gap, and tells of the rest of it. */
async function takeBetween(
  file: OpenFile,
  path: string,
  { from, to, before, next }: Gap,
  { take, lose }: Taking,
  control: RunControl,
): Promise<void> {
  let reached = from;
  let last = before?.last;
  const tell = (end: number, upTo: Buffer | undefined): void => {
    if (end > reached) {
      const what = `${end - reached} bytes that are no whole block`;
      lose({ path, offset: reached, what, from: last, upTo });
    }
  };
  if (to - from <= MAX_PIECE_BYTES) {
    const bytes = Buffer.alloc(to - from);
    const count = await readWhatCanBe(file, bytes, from, (offset, length, code) =>
      lose({ path, offset, what: `${length} bytes cannot be read (${code})`, from: last, upTo: next?.first }),
    );
    control.addBytes(count);
    for (const { offset, length } of findBlocks(bytes.subarray(0, count), () => control.checkCancelled())) {
      const { entries, problem } = entriesOf(bytes.subarray(offset, offset + length), offset, 'none');
      const [first, lastHere] = [entries[0]?.key, entries.at(-1)?.key];
      if (problem !== undefined || first === undefined || lastHere === undefined) continue;
      // A value may hold blocks of another table. It looks like one where its own block is damaged.
      const isInOrder =
        (last === undefined || first.compare(last) >= 0) &&
        (next === undefined || lastHere.compare(next.first) <= 0);
      if (!isInOrder) continue;
      tell(from + offset, first);
      await take(entries);
      last = lastHere;
      reached = from + offset + length;
    }
  }
  tell(to, next?.first);
}

/** What may be spent on checksums of bytes that only look like blocks: each costs its length. */
const BUDGET_BYTES = 256 * 1024 * 1024;

/** Blocks anywhere in these bytes, by the lengths that they state and their checksums. */
function findBlocks(bytes: Buffer, each: () => void): { offset: number; length: number }[] {
  const blocks: { offset: number; length: number }[] = [];
  let budget = BUDGET_BYTES;
  for (let at = 0; at + BLOCK_OVERHEAD_BYTES <= bytes.length && budget > 0; ) {
    const entries = bytes.readUInt32LE(at);
    const payload = bytes.readUInt32LE(at + BLOCK_HEADER_BYTES / 2);
    const length = payload + BLOCK_OVERHEAD_BYTES;
    const isPossible = entries > 0 && entries * LEAST_ENTRY_BYTES <= payload && at + length <= bytes.length;
    if (!isPossible) {
      at++;
      continue;
    }
    each();
    if (blockDamage(bytes.subarray(at, at + length), at) === undefined) {
      blocks.push({ offset: at, length });
      at += length;
    } else {
      budget -= length;
      at++;
    }
  }
  return blocks;
}

/** The newest version of each key of a block, in order; `problem` says why the rest of the block is lost. */
function entriesOf(
  stored: Buffer,
  at: number,
  compression: TableHeader['compression'],
  ignoresChecksum = false,
): { entries: Entry[]; problem: string | undefined } {
  let block = stored;
  if (compression === 'none') {
    const damage = blockDamage(stored, at);
    if (damage !== undefined && !ignoresChecksum) return { entries: [], problem: damage.message };
  } else {
    const { block: inflated, problem } = decompressBlock(stored, compression);
    if (inflated === undefined)
      return { entries: [], problem: problem ?? `this version of Node cannot decompress ${compression}` };
    block = inflated;
  }
  const entries: Entry[] = [];
  const cursor = new EntryCursor().begin(block, at);
  while (cursor.next()) {
    const key = cursor.key();
    if (entries.at(-1)?.key.equals(key)) continue; // an older version
    entries.push({
      key: Buffer.from(key),
      version: versionOf(
        joined(cursor.timestampHigh, cursor.timestampLow),
        joined(cursor.sequenceHigh, cursor.sequenceLow),
      ),
      value: cursor.isPut ? Buffer.from(block.subarray(cursor.valueAt, cursor.end)) : undefined,
    });
  }
  return { entries, problem: cursor.damage?.message };
}

const joined = (high: number, low: number): bigint => (BigInt(high) << 32n) | BigInt(low);

/** Commits are ordered by their LSN, operations of a commit by their place in it. */
export const versionOf = (lsn: bigint, place: bigint): bigint => (lsn << 64n) | place;
