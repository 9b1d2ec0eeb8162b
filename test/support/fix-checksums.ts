import { crc32 } from '../../src/format/crc32.ts';
import { crc32c, maskCrc } from '../../src/format/crc32c.ts';
import { BlockCursor } from '../../src/format/leveldb/block.ts';
import { BLOCK_BYTES, HEADER_BYTES } from '../../src/format/leveldb/log.ts';
import {
  type BlockHandle,
  decodeFooter,
  decodeHandle,
  FOOTER_BYTES,
  TRAILER_BYTES,
} from '../../src/format/leveldb/table.ts';
import { TABLE_FOOTER_BYTES, TABLE_HEADER_BYTES } from '../../src/format/lsm/table.ts';
import { decodeIndex } from '../../src/format/lsm/table-index.ts';
import {
  decodeSectionHeader,
  liveBytes,
  physicalOffset,
  ringBytes,
  sectionProblem,
  type WalGeometry,
  walFileBytes,
} from '../../src/format/lsm/wal.ts';
import { resealTable } from './lsm-table.ts';

// Checksums are made anew in place, as far as what stands in a damaged file leads to them: so that what they hide is reached.

/** Makes the checksum of each fragment anew, as far as lengths lead. `offset`: where in the file the bytes begin. */
export function fixFragments(bytes: Buffer, offset: number): void {
  let at = 0;
  while (at + HEADER_BYTES <= bytes.byteLength) {
    const room = BLOCK_BYTES - ((offset + at) % BLOCK_BYTES);
    const end = at + HEADER_BYTES + bytes.readUInt16LE(at + 4);
    if (room < HEADER_BYTES) at += room;
    else if (end > Math.min(at + room, bytes.byteLength)) return;
    else {
      bytes.writeUInt32LE(maskCrc(crc32c(bytes.subarray(at + 6, end))), at);
      at = end;
    }
  }
}

/** Headers, and each entry as far as the lengths lead. */
export function fixLsmLog(log: Buffer, geometry: WalGeometry): void {
  for (let at = log.indexOf('AWAL'); at >= 0 && at + 28 <= log.byteLength; at = log.indexOf('AWAL', at + 1))
    log.writeUInt32LE(crc32(log.subarray(at, at + 22)), at + 22);
  if (log.byteLength !== walFileBytes(geometry)) return;
  const header = decodeSectionHeader(log);
  if (sectionProblem(geometry, header) !== undefined) return;
  const ring = ringBytes(geometry);
  const place = (at: number) => physicalOffset(geometry, (header.start + at) % ring);
  const live = Buffer.from(Array.from({ length: liveBytes(geometry, header) }, (_, i) => log[place(i)]!));
  for (let at = 0; at + 17 <= live.byteLength; ) {
    const end = at + 12 + live.readUInt32LE(at + 8);
    if (end > live.byteLength || end < at + 17) return;
    const crc = Buffer.alloc(4);
    crc.writeUInt32LE(crc32(live.subarray(at, end - 4)));
    for (let i = 0; i < 4; i++) log[place(end - 4 + i)] = crc[i]!;
    at = end;
  }
}

/** The checksum of each block that the index names, and that of the table. */
export function fixLsmTable(table: Buffer): void {
  const footerAt = table.byteLength - TABLE_FOOTER_BYTES;
  if (footerAt < TABLE_HEADER_BYTES) return;
  const indexAt = Number(table.readBigUInt64LE(footerAt));
  const indexEnd = indexAt + table.readUInt32LE(footerAt + 8);
  const index =
    indexEnd <= footerAt ? decodeIndex(table.subarray(indexAt, indexEnd), indexAt).value : undefined;
  for (const { offset, sizeBytes } of index ?? []) {
    const end = offset + sizeBytes;
    if (sizeBytes < 12 || end > indexAt) continue;
    table.writeUInt32LE(crc32(table.subarray(offset, end - 4)), end - 4);
  }
  resealTable(table).copy(table);
}

export function fixLeveldbTable(table: Buffer): void {
  const footerAt = table.byteLength - FOOTER_BYTES;
  const footer = footerAt < 0 ? 'too short' : decodeFooter(table.subarray(footerAt));
  if (typeof footer === 'string') return;
  const seal = ({ offset, sizeBytes }: BlockHandle): Buffer | undefined => {
    const end = offset + sizeBytes + TRAILER_BYTES;
    if (end > footerAt) return undefined;
    table.writeUInt32LE(maskCrc(crc32c(table.subarray(offset, end - 4))), end - 4);
    return table.subarray(offset, offset + sizeBytes);
  };
  for (const handle of [footer.index, footer.metaindex]) {
    const content = seal(handle);
    const cursor = content && new BlockCursor(content);
    while (cursor?.next()) {
      const named = decodeHandle(cursor.value());
      if (named !== undefined) seal(named);
    }
    seal(handle); // a block that it names may lie over it
  }
}
