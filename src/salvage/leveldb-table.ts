import { findingsOf } from '../engine/leveldb/findings.ts';
import { contentOf, readTableFrame } from '../engine/leveldb/table-frame.ts';
import { layoutOf } from '../engine/leveldb/table-layout.ts';
import type { OpenFile } from '../env/file-system.ts';
import { readExactly, readFully } from '../env/io.ts';
import type { RunControl } from '../env/run-control.ts';
import { BlockCursor } from '../format/leveldb/block.ts';
import { decodeInternalKey, TAG_BYTES, TYPE_VALUE } from '../format/leveldb/internal-key.ts';
import { checkSeal, decodeHandle, TRAILER_BYTES, unpackBlock } from '../format/leveldb/table.ts';
import { findSealedBlocks } from './sealed-blocks.ts';
import type { Entry, Taking } from './source.ts';

/** A larger block is not read: no valid one is, and a hostile index may claim anything. */
const MOST_BLOCK_BYTES = 1024 * 1024 * 1024;

/**
 * Hands over the entries of all blocks of a table whose checksum holds, and tells of the others. Without an index the blocks are found
 * by their checksums.
 */
export async function salvageTable(
  file: OpenFile,
  path: string,
  { take, lose }: Taking,
  control: RunControl,
): Promise<void> {
  const { sizeBytes } = await file.stat();
  const findings = findingsOf(path);
  const frame = await readTableFrame(file, sizeBytes, findings);
  if (frame?.index === undefined) {
    const [why] = findings.list;
    await salvageWithoutIndex(file, path, why?.message ?? 'the index is damaged', { take, lose }, control);
    return;
  }
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
    const sealed = await readExactly(file, offset, length);
    const { broken } = checkSeal(sealed);
    if (broken !== undefined) {
      lost(`a block whose checksum does not hold: ${broken}`);
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
  const whole = bytes.subarray(0, await readFully(file, bytes, 0));
  control.addBytes(whole.byteLength);
  const { blocks, end } = findSealedBlocks(whole);
  const places = new Set(blocks.map(({ offset, length }) => `${offset} ${length - TRAILER_BYTES}`));
  let last: Buffer | undefined;
  for (const { offset, length } of blocks) {
    control.checkCancelled();
    const unpacked = unpackBlock(whole.subarray(offset, offset + length));
    if (!('content' in unpacked)) {
      lose({ path, offset, what: 'a block that cannot be read here', from: last });
      continue;
    }
    if (isIndex(unpacked.content, places) || !isData(unpacked.content)) continue;
    const { entries, problem } = entriesOf(unpacked.content);
    await take(entries);
    if (problem !== undefined) lose({ path, offset, what: problem, from: last });
    last = entries.at(-1)?.key ?? last;
  }
  const found = `${blocks.length} blocks were found by their checksums`;
  lose({
    path,
    offset: end,
    what: `${why}; ${found}, and what lies behind the last of them is lost`,
    from: last,
  });
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
      sequence,
      value: type === TYPE_VALUE ? Buffer.from(cursor.value()) : undefined,
    });
  }
  return { entries, problem: cursor.problem ?? problem };
}

/** Whether all values are the places of blocks that were found: then it is an index, and holds no data. */
function isIndex(content: Buffer, places: ReadonlySet<string>): boolean {
  const cursor = new BlockCursor(content);
  let count = 0;
  while (cursor.next()) {
    const value = cursor.value();
    const handle = decodeHandle(value);
    if (handle?.next !== value.length || !places.has(`${handle.offset} ${handle.sizeBytes}`)) return false;
    count++;
  }
  return count > 0;
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
