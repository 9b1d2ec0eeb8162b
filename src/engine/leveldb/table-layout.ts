import { BlockCursor } from '../../format/leveldb/block.ts';
import { compareInternalKeys, TAG_BYTES } from '../../format/leveldb/internal-key.ts';
import { decodeHandle, FOOTER_BYTES, TRAILER_BYTES } from '../../format/leveldb/table.ts';
import type { Findings } from '../findings.ts';
import type { TableFrame } from './table-frame.ts';

/** A block with its trailer as a piece of the file; a data block has the index keys around it. */
export interface Region {
  readonly name: string;
  readonly offset: number;
  /** With the trailer. */
  readonly length: number;
  readonly bounds?: Bounds;
}

export interface Bounds {
  /** Index key of the block before: every key here is behind it. Absent for the first block. */
  readonly after: Buffer | undefined;
  /** Index key of this block: no key here is behind it. */
  readonly upTo: Buffer;
}

/** The blocks from the first one on that are known to lie as they should. */
export interface LaidOut {
  /** Where the last of them ends. */
  readonly bytes: number;
  /** Whether these are all data blocks. */
  readonly isEnd: boolean;
}

/**
 * The blocks of a table in file order, without those that are laid out already. They must cover the file from its first byte to the footer. A gap or an overlap is
 * reported and skipped. `order` gets findings that count only for bytewise order.
 */
export function* layoutOf(
  frame: TableFrame,
  sizeBytes: number,
  findings: Findings,
  order: Findings,
  laidOut: LaidOut = { bytes: 0, isEnd: false },
): Generator<Region, void> {
  const footerAt = sizeBytes - FOOTER_BYTES;
  let covered = laidOut.bytes;
  for (const region of allRegions(frame, findings, order, laidOut)) {
    const { name, offset, length } = region;
    if (offset < covered || offset + length > footerAt) {
      const message = `the ${name} block at ${offset} of ${length} bytes overlaps what is around it`;
      findings.error('LEVELDB_TABLE_LAYOUT', Math.min(offset, footerAt), message);
      continue;
    }
    if (offset > covered && frame.isComplete) {
      findings.error('LEVELDB_TABLE_LAYOUT', covered, `${offset - covered} bytes belong to no block`);
    }
    covered = offset + length;
    yield region;
  }
  if (covered < footerAt && frame.isComplete) {
    findings.error('LEVELDB_TABLE_LAYOUT', covered, `${footerAt - covered} bytes belong to no block`);
  }
}

function* allRegions(
  frame: TableFrame,
  findings: Findings,
  order: Findings,
  { bytes, isEnd }: LaidOut,
): Generator<Region, void> {
  if (frame.index !== undefined && !isEnd) {
    let from = 0;
    for (const region of dataRegions(frame, frame.index, findings, order)) {
      // What is laid out already has no findings, and nothing lies between.
      if (from === bytes) yield region;
      else from = region.offset + region.length;
    }
  }
  for (const { name, offset, sizeBytes } of frame.others) {
    yield { name, offset, length: sizeBytes + TRAILER_BYTES };
  }
}

function* dataRegions(
  frame: TableFrame,
  index: Buffer,
  findings: Findings,
  order: Findings,
): Generator<Region, void> {
  const at = frame.others.find(({ name }) => name === 'index')?.offset ?? null;
  const cursor = new BlockCursor(index);
  let after: Buffer | undefined;
  while (cursor.next()) {
    const upTo = cursor.copyKey();
    const handle = decodeHandle(cursor.value());
    if (upTo.length < TAG_BYTES || handle === undefined) {
      findings.error('LEVELDB_TABLE_INDEX', at, `an unreadable entry at byte ${cursor.offset} of the index`);
      continue;
    }
    if (after !== undefined && compareInternalKeys(after, upTo) >= 0) {
      order.error('LEVELDB_TABLE_INDEX', at, `keys out of order at byte ${cursor.offset} of the index`);
    }
    const bounds = { after, upTo };
    yield { name: 'data', offset: handle.offset, length: handle.sizeBytes + TRAILER_BYTES, bounds };
    after = upTo;
  }
  if (cursor.problem !== undefined) findings.error('LEVELDB_TABLE_INDEX', at, cursor.problem);
}
