import { BlockCursor } from '../../src/format/leveldb/block.ts';
import { parseFileName } from '../../src/format/leveldb/file-name.ts';
import { BLOCK_BYTES, LogDecoder } from '../../src/format/leveldb/log.ts';
import {
  type BlockHandle,
  decodeFooter,
  decodeHandle,
  FOOTER_BYTES,
  TRAILER_BYTES,
  unpackBlock,
} from '../../src/format/leveldb/table.ts';

/** The parts that a file is made of, as far as a finding can say where the damage is: half-open stretches of bytes. */
export interface Unit {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/** Of a healthy file. */
export function unitsOf(engine: string, path: string, bytes: Buffer, segmentBytes: number): Unit[] {
  const whole = [{ name: 'whole', from: 0, to: bytes.byteLength }];
  if (engine === 'lsm') {
    if (path === 'lsm.wal') return lsmLogUnits(bytes, segmentBytes);
    return path.startsWith('sst/') ? lsmTableUnits(bytes) : whole;
  }
  const kind = engine === 'leveldb' ? parseFileName(path)?.kind : undefined;
  if (kind === 'table') return leveldbTableUnits(bytes);
  return kind === undefined ? whole : leveldbLogUnits(bytes);
}

function lsmTableUnits(bytes: Buffer): Unit[] {
  const footer = bytes.byteLength - 48;
  const index = Number(bytes.readBigUInt64LE(footer));
  const filter = Number(bytes.readBigUInt64LE(footer + 12));
  const units = [
    { name: 'header', from: 0, to: 32 },
    { name: 'index', from: index, to: filter },
    { name: 'filter', from: filter, to: footer },
    { name: 'footer', from: footer, to: bytes.byteLength },
  ];
  const blocks = bytes.readUInt32LE(index);
  for (let i = 0, at = index + 4; i < blocks; i++) {
    const from = Number(bytes.readBigUInt64LE(at));
    units.push({ name: 'block', from, to: from + bytes.readUInt32LE(at + 8) });
    at += 16 + bytes.readUInt32LE(at + 12);
    at += 4 + bytes.readUInt32LE(at);
  }
  return units;
}

/** The log's own header, those of the segments, and the stretches of each live entry. */
function lsmLogUnits(bytes: Buffer, segmentBytes: number): Unit[] {
  const count = (bytes.byteLength - 16) / segmentBytes;
  const units = [{ name: 'header', from: 0, to: 16 }];
  for (let i = 0; i < count; i++) {
    const from = 16 + i * segmentBytes;
    units.push({ name: 'segment header', from, to: from + 28 });
  }
  const data = segmentBytes - 28;
  const ring = data * count;
  const place = (at: number) =>
    16 + Math.floor((at % ring) / data) * segmentBytes + 28 + ((at % ring) % data);
  const start = Number(bytes.readBigUInt64LE(0));
  const live = (Number(bytes.readBigUInt64LE(8) & ((1n << 63n) - 1n)) - start + ring) % ring;
  for (let at = start; at < start + live; ) {
    const length = Buffer.from([8, 9, 10, 11].map((i) => bytes[place(at + i)]!)).readUInt32LE() + 12;
    // An entry that goes over the end of a segment is one unit with all in between.
    const [from, last] = [place(at), place(at + length - 1)];
    if (from <= last) units.push({ name: 'entry', from, to: last + 1 });
    else units.push({ name: 'entry', from, to: bytes.byteLength }, { name: 'entry', from: 16, to: last + 1 });
    at += length;
  }
  return units;
}

/** Records; after damage LevelDB passes over the rest of a block, so that a finding speaks for all of that. */
function leveldbLogUnits(bytes: Buffer): Unit[] {
  const decoder = new LogDecoder();
  const units: Unit[] = [];
  for (const item of [...decoder.push(bytes), ...decoder.finish()])
    if (item.kind === 'record') units.push({ name: 'record', from: item.offset, to: item.end });
  const blocks = Math.ceil(bytes.byteLength / BLOCK_BYTES);
  // What is left of a block and too short for a header.
  for (let i = 1; i < blocks; i++)
    units.push({ name: 'padding', from: i * BLOCK_BYTES - 6, to: i * BLOCK_BYTES });
  return units;
}

function leveldbTableUnits(bytes: Buffer): Unit[] {
  const footerAt = bytes.byteLength - FOOTER_BYTES;
  const footer = decodeFooter(bytes.subarray(footerAt));
  if (typeof footer === 'string') throw new Error(`a healthy table: ${footer}`);
  const unit = (name: string, { offset, sizeBytes }: BlockHandle) => ({
    name,
    from: offset,
    to: offset + sizeBytes + TRAILER_BYTES,
  });
  const units = [{ name: 'footer', from: footerAt, to: bytes.byteLength }];
  for (const [name, handle] of Object.entries(footer)) {
    units.push(unit(name, handle));
    const { from, to } = unit(name, handle);
    const unpacked = unpackBlock(bytes.subarray(from, to));
    if (!('content' in unpacked)) throw new Error(`a healthy table: no ${name}`);
    const cursor = new BlockCursor(unpacked.content);
    while (cursor.next())
      units.push(unit(name === 'index' ? 'block' : 'filter', decodeHandle(cursor.value())!));
  }
  return units;
}
