import { crc32 } from '../../src/format/crc32.ts';
import { BloomBuilder, encodeBloom } from '../../src/format/lsm/bloom.ts';
import {
  encodeTableFooter,
  encodeTableHeader,
  TABLE_FOOTER_BYTES,
  TABLE_HEADER_BYTES,
} from '../../src/format/lsm/table.ts';
import { encodeBlock, type TableEntry, tableEntryBytes } from '../../src/format/lsm/table-block.ts';
import { encodeIndex, type IndexEntry } from '../../src/format/lsm/table-index.ts';

export const entry = (key: string, timestamp: number, value: string | undefined = 'v'): TableEntry => ({
  type: value === undefined ? 'delete' : 'put',
  timestamp: BigInt(timestamp),
  sequence: 1n,
  key: Buffer.from(key),
  value: Buffer.from(value ?? ''),
});

export interface TableShape {
  /** Changes a block after it was written, its checksum made anew. */
  readonly editBlock?: (block: Buffer, at: number) => Buffer;
  readonly editIndex?: (index: IndexEntry[]) => IndexEntry[];
  /** Bits 1 and 2 of the header's flags: 1 = LZ4, 2 = Zstd. */
  readonly compression?: number;
}

/** A table with blocks of exactly these entries, in whatever order they are given: also such as no engine would write. */
export function buildTable(blocks: readonly TableEntry[][], shape: TableShape = {}): Buffer {
  const parts: Buffer[] = [];
  const index: IndexEntry[] = [];
  const all = blocks.flat();
  const bloom = new BloomBuilder();
  let offset = TABLE_HEADER_BYTES;
  for (const [i, entries] of blocks.entries()) {
    const plain = encodeBlock(
      entries,
      entries.reduce((sum, e) => sum + tableEntryBytes(e), 0),
    );
    const block = shape.editBlock === undefined ? plain : resealBlock(shape.editBlock(plain, i));
    parts.push(block);
    index.push({
      offset,
      sizeBytes: block.byteLength,
      firstKey: entries[0]!.key,
      lastKey: entries.at(-1)!.key,
    });
    offset += block.byteLength;
    for (const e of entries) bloom.add(e.key);
  }
  const header = encodeTableHeader({
    hasBloom: true,
    blockCount: blocks.length,
    entryCount: BigInt(all.length),
    minKeyBytes: all.reduce((least, { key }) => Math.min(least, key.byteLength), Infinity),
    maxKeyBytes: all.reduce((most, { key }) => Math.max(most, key.byteLength), 0),
  });
  header.writeUInt16LE(1 | ((shape.compression ?? 0) << 1), 6);
  const indexBytes = encodeIndex(shape.editIndex?.(index) ?? index);
  const bloomBytes = encodeBloom(bloom.build(all.length));
  const times = all.map(({ timestamp }) => timestamp).sort((a, b) => Number(a - b));
  const body = Buffer.concat([header, ...parts, indexBytes, bloomBytes]);
  const footer = encodeTableFooter({
    indexOffset: offset,
    indexBytes: indexBytes.byteLength,
    bloomOffset: offset + indexBytes.byteLength,
    bloomBytes: bloomBytes.byteLength,
    minTimestamp: times[0]!,
    maxTimestamp: times.at(-1)!,
    crc32: crc32(body),
  });
  return Buffer.concat([body, footer]);
}

export function resealBlock(block: Buffer): Buffer {
  block.writeUInt32LE(crc32(block.subarray(0, -4)), block.byteLength - 4);
  return block;
}

/** Writes the footer's checksum of a table anew. */
export function resealTable(bytes: Buffer): Buffer {
  const sealed = Buffer.from(bytes);
  if (sealed.byteLength < TABLE_FOOTER_BYTES) return sealed;
  const footerAt = sealed.byteLength - TABLE_FOOTER_BYTES;
  sealed.writeUInt32LE(crc32(sealed.subarray(0, footerAt)), footerAt + 40);
  return sealed;
}
