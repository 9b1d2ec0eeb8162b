import { findingsOf } from '../engine/leveldb/findings.ts';
import { contentOf, readTableFrame } from '../engine/leveldb/table-frame.ts';
import { type Bounds, layoutOf } from '../engine/leveldb/table-layout.ts';
import type { OpenFile } from '../env/file-system.ts';
import { readExactly } from '../env/io.ts';
import type { RunControl } from '../env/run-control.ts';
import { BlockCursor } from '../format/leveldb/block.ts';
import { decodeInternalKey, TAG_BYTES, TYPE_VALUE } from '../format/leveldb/internal-key.ts';
import { checkSeal, decodeHandle, TRAILER_BYTES, unpackBlock } from '../format/leveldb/table.ts';
import { findSealedBlocks, type SealedBlock } from './sealed-blocks.ts';
import { type Entry, newestOf, type Taking } from './source.ts';
import { readWhatCanBe, unlessUnreadable } from './unreadable.ts';

/** A larger block is not read: no valid one is, and a hostile index may claim anything. */
const MOST_BLOCK_BYTES = 1024 * 1024 * 1024;

/**
 * Hands over the entries of all blocks of a table whose checksum holds, and tells of the others. Without an index the blocks are found
 * by their checksums.
 */
export async function salvageTable(
  file: OpenFile,
  path: string,
  taking: Taking,
  control: RunControl,
): Promise<void> {
  const { sizeBytes } = await file.stat();
  const findings = findingsOf(path);
  const frame = await unlessUnreadable(
    () => readTableFrame(file, sizeBytes, findings),
    () => undefined,
  );
  if (frame?.index === undefined) {
    const why = findings.list[0]?.message ?? 'the index cannot be read';
    await salvageWithoutIndex(file, path, why, taking, control);
    return;
  }
  const { take, lose } = taking;
  const index = frame.others.find(({ name }) => name === 'index')!;
  let reached = 0;
  for (const { name, offset, length, bounds } of layoutOf(frame, sizeBytes, findings, findings)) {
    control.checkCancelled();
    control.addBytes(length);
    if (bounds === undefined) continue;
    reached = offset + length;
    const lost = (what: string): void =>
      lose({ path, offset, what, from: userKeyOf(bounds.after), upTo: userKeyOf(bounds.upTo) });
    if (length > MOST_BLOCK_BYTES) {
      lost(`a block that claims ${length} bytes`);
      continue;
    }
    const sealed = await unlessUnreadable<Buffer | string>(
      () => readExactly(file, offset, length),
      (code) => code,
    );
    if (typeof sealed === 'string') {
      lost(`a block that cannot be read (${sealed})`);
      continue;
    }
    const { broken } = checkSeal(sealed);
    if (broken !== undefined) {
      lost(`a block whose checksum does not hold: ${broken}`);
      await taking.doubt?.(doubtfulOf(sealed, bounds));
      continue;
    }
    const ofBlock = findingsOf(path);
    const content = contentOf(sealed, offset, name, ofBlock);
    if (content === undefined) lost(ofBlock.list[0]?.message ?? 'a block that cannot be read');
    else {
      const { entries, problem } = entriesOf(content);
      await take(entries);
      if (problem !== undefined) lost(problem);
    }
  }
  // What the index itself says wrongly: places that overlap, or that no entry names.
  for (const { offset, message, code } of findings.list) {
    if (code === 'LEVELDB_TABLE_INDEX' || code === 'LEVELDB_TABLE_LAYOUT' || code === 'LEVELDB_TABLE_HANDLE')
      lose({ path, offset, what: message });
  }
  if (reached === 0 && index.offset > 0) lose({ path, offset: 0, what: 'the index names no block' });
}

async function salvageWithoutIndex(
  file: OpenFile,
  path: string,
  why: string,
  { take, lose }: Taking,
  control: RunControl,
): Promise<void> {
  const { sizeBytes } = await file.stat();
  if (sizeBytes > MOST_BLOCK_BYTES) {
    lose({ path, offset: null, what: `${why}; ${sizeBytes} bytes are too many to look for blocks in` });
    return;
  }
  const bytes = Buffer.allocUnsafe(sizeBytes);
  const count = await readWhatCanBe(file, bytes, 0, (offset, length, code) =>
    lose({ path, offset, what: `${length} bytes cannot be read (${code})` }),
  );
  const whole = bytes.subarray(0, count);
  control.addBytes(count);
  const blocks = [...findSealedBlocks(whole, isBlock)];
  lose({ path, offset: null, what: `${why}; ${blocks.length} blocks were found by their checksums` });
  const passed: PassedBlock[] = [];
  let last: Buffer | undefined;
  let end = 0;
  for (const { offset, length } of blocks) {
    control.checkCancelled();
    const unpacked = unpackBlock(whole.subarray(offset, offset + length));
    if (!('content' in unpacked)) {
      lose({ path, offset, what: 'a block that cannot be read here', from: last });
      continue;
    }
    const isOfData = !isIndex(unpacked.content, passed) && isData(unpacked.content);
    passed.push({ offset, length, isOfData });
    if (!isOfData) continue;
    const { entries, problem } = entriesOf(unpacked.content);
    const first = entries[0]?.key;
    // A value may hold blocks of another table, and looks like one where its own block is damaged.
    if (first === undefined || (last !== undefined && first.compare(last) < 0)) {
      lose({ path, offset, what: 'a block whose keys do not follow those before it', from: last });
      continue;
    }
    if (offset > end) {
      const what = `${offset - end} bytes that are no whole block`;
      lose({ path, offset: end, what, from: last, upTo: first });
    }
    await take(entries);
    if (problem !== undefined) lose({ path, offset, what: problem, from: last });
    last = entries.at(-1)!.key;
    end = offset + length;
  }
  lose({ path, offset: end, what: 'what lies behind the last of these blocks', from: last });
}

/** Whether its content is entries from the first byte to the last. */
function isBlock(sealed: Buffer): boolean {
  const unpacked = unpackBlock(sealed);
  if (!('content' in unpacked)) return false;
  const cursor = new BlockCursor(unpacked.content);
  let count = 0;
  while (cursor.next()) count++;
  return count > 0 && cursor.problem === undefined;
}

/** The newest version of each key of a block, in order; `problem` says why the rest of the block is lost. */
function entriesOf(content: Buffer): { entries: Entry[]; problem: string | undefined } {
  const entries: Entry[] = [];
  const cursor = new BlockCursor(content);
  let problem: string | undefined;
  while (cursor.next()) {
    const key = decodeInternalKey(cursor.copyKey());
    if (key === undefined || key.type > TYPE_VALUE) {
      problem = `an entry at byte ${cursor.offset} of the block that is none`;
      continue;
    }
    if (entries.at(-1)?.key.equals(key.userKey)) continue; // an older version
    const { userKey, sequence, type } = key;
    entries.push({
      key: userKey,
      version: sequence,
      value: type === TYPE_VALUE ? Buffer.from(cursor.value()) : undefined,
    });
  }
  return { entries, problem: cursor.problem ?? problem };
}

/**
 * What a block says whose checksum does not hold. The list of restarts is left aside: only who searches needs it. Keys that the index does not
 * expect in this block are none.
 */
function doubtfulOf(sealed: Buffer, { after, upTo }: Bounds): Entry[] {
  const unpacked = unpackBlock(sealed);
  if (!('content' in unpacked)) return [];
  const { content } = unpacked;
  const restarts = content.length < WORD ? 0 : content.readUInt32LE(content.length - WORD);
  const end = content.length - WORD * (restarts + 1);
  if (end <= 0) return [];
  const { entries } = entriesOf(Buffer.concat([content.subarray(0, end), ONE_RESTART]));
  const [from, to] = [userKeyOf(after), userKeyOf(upTo)];
  return newestOf(
    entries.filter(
      ({ key }) =>
        (from === undefined || key.compare(from) >= 0) && (to === undefined || key.compare(to) <= 0),
    ),
  );
}

const WORD = 4;
/** At the first entry. */
const ONE_RESTART = Buffer.from([0, 0, 0, 0, 1, 0, 0, 0]);

interface PassedBlock extends SealedBlock {
  readonly isOfData: boolean;
}

/**
 * Whether its values are the places of blocks, back to back from the first byte on, that agree with the blocks that were found. Behind the
 * last of these places no data stands. It is an index then, and holds no data.
 */
function isIndex(content: Buffer, passed: readonly PassedBlock[]): boolean {
  const places = new Map<number, number>();
  let end = 0;
  const cursor = new BlockCursor(content);
  while (cursor.next()) {
    const value = cursor.value();
    const handle = decodeHandle(value);
    if (handle?.next !== value.length || handle.offset !== end) return false;
    const length = handle.sizeBytes + TRAILER_BYTES;
    places.set(end, length);
    end += length;
  }
  return (
    places.size > 0 &&
    passed.every(({ offset, length, isOfData }) => (offset < end ? places.get(offset) === length : !isOfData))
  );
}

/** Whether the first key is one of data: a filter and the index of the filters are none. */
function isData(content: Buffer): boolean {
  const cursor = new BlockCursor(content);
  return (
    cursor.next() && cursor.keyLength >= TAG_BYTES && cursor.key[cursor.keyLength - TAG_BYTES]! <= TYPE_VALUE
  );
}

const userKeyOf = (internalKey: Buffer | undefined): Buffer | undefined =>
  internalKey?.subarray(0, internalKey.length - TAG_BYTES);
