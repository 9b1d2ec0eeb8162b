import { crc32 } from '../crc32.ts';

/**
 * `lsm.wal`: a ring log in one file of fixed size.
 *
 * A section header of 16 bytes (`u64 start | u64 end`, bit 63 of `end` = full) is followed by segments of equal size,
 * each with a header of 28 bytes (`"AWAL" | u16 version | u64 id | u64 first lsn | u32 CRC-32 of the 22 bytes before | u16
 * reserved`) and data. The data areas of all segments, one behind the other, are the *logical* ring; `start` and `end` are
 * offsets in it, and entries run through it as if the headers were not there. Integers are little-endian.
 */
export interface WalGeometry {
  /** Size of one segment, its header included. */
  readonly segmentBytes: number;
  readonly segmentCount: number;
}

/** What the engine uses unless it is told otherwise. The geometry is stored nowhere; see `wal-geometry.ts`. */
export const DEFAULT_GEOMETRY: WalGeometry = Object.freeze({
  segmentBytes: 64 * 1024 * 1024,
  segmentCount: 8,
});

export const SECTION_HEADER_BYTES = 16;
export const SEGMENT_HEADER_BYTES = 28;
export const WAL_MAGIC = 'AWAL';
export const WAL_VERSION = 2;
/** Segment i bears the id `FIRST_SEGMENT_ID + i`. */
export const FIRST_SEGMENT_ID = 1n;

/** Data bytes of one segment. */
export const segmentDataBytes = (geometry: WalGeometry): number =>
  geometry.segmentBytes - SEGMENT_HEADER_BYTES;

/** Size of the logical ring: all data bytes together. */
export const ringBytes = (geometry: WalGeometry): number =>
  segmentDataBytes(geometry) * geometry.segmentCount;

export const walFileBytes = (geometry: WalGeometry): number =>
  SECTION_HEADER_BYTES + geometry.segmentBytes * geometry.segmentCount;

/** Where in the file the header of segment `index`, counted from 0, stands. */
export const segmentHeaderOffset = (geometry: WalGeometry, index: number): number =>
  SECTION_HEADER_BYTES + geometry.segmentBytes * index;

/** Where in the file the byte at `logical` stands; `logical` lies within [0, ring). */
export function physicalOffset(geometry: WalGeometry, logical: number): number {
  const data = segmentDataBytes(geometry);
  return segmentHeaderOffset(geometry, Math.floor(logical / data)) + SEGMENT_HEADER_BYTES + (logical % data);
}

export interface WalExtent {
  /** In the file. */
  readonly offset: number;
  readonly length: number;
}

/**
 * Where `length` bytes of the ring from `logical` on stand in the file: in logical order, split at each segment header
 * and at the ring's end. `length` is at most the ring.
 */
export function ringExtents(geometry: WalGeometry, logical: number, length: number): WalExtent[] {
  const data = segmentDataBytes(geometry);
  const ring = ringBytes(geometry);
  const extents: WalExtent[] = [];
  for (let at = logical, left = length; left > 0; ) {
    const count = Math.min(left, data - (at % data));
    extents.push({ offset: physicalOffset(geometry, at), length: count });
    at = (at + count) % ring;
    left -= count;
  }
  return extents;
}

/** `start`: logical offset of the first live byte. `end`: behind the last one. `full`: all of the ring is live. */
export interface SectionHeader {
  readonly start: number;
  readonly end: number;
  readonly full: boolean;
}

const START_AT = 0;
const END_AT = 8;
const FULL_BIT = 1n << 63n;

/** Any 16 bytes decode; what they say is checked by `sectionProblem`. Beyond 2^53 the numbers are rounded. */
export function decodeSectionHeader(bytes: Uint8Array): SectionHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, SECTION_HEADER_BYTES);
  const end = view.getBigUint64(END_AT, true);
  return {
    start: Number(view.getBigUint64(START_AT, true)),
    end: Number(end & (FULL_BIT - 1n)),
    full: (end & FULL_BIT) !== 0n,
  };
}

export function encodeSectionHeader(header: SectionHeader): Buffer {
  const bytes = Buffer.alloc(SECTION_HEADER_BYTES);
  bytes.writeBigUInt64LE(BigInt(header.start), START_AT);
  bytes.writeBigUInt64LE(BigInt(header.end) | (header.full ? FULL_BIT : 0n), END_AT);
  return bytes;
}

/** Why the engine would refuse this header; undefined if it would not. */
export function sectionProblem(geometry: WalGeometry, header: SectionHeader): string | undefined {
  const ring = ringBytes(geometry);
  if (header.start >= ring) return `start ${header.start} lies outside the ring of ${ring} bytes`;
  if (header.end >= ring) return `end ${header.end} lies outside the ring of ${ring} bytes`;
  if (header.full && header.start !== header.end) {
    return `the ring is marked full, but start ${header.start} is not end ${header.end}`;
  }
  return undefined;
}

/** How many bytes of the ring are live. The header has no `sectionProblem`. */
export function liveBytes(geometry: WalGeometry, header: SectionHeader): number {
  const ring = ringBytes(geometry);
  if (header.full) return ring;
  return header.start <= header.end ? header.end - header.start : ring - (header.start - header.end);
}

export interface SegmentHeader {
  readonly version: number;
  readonly id: bigint;
  readonly firstLsn: bigint;
  /** Under no checksum and 0 in every file that the engine wrote. */
  readonly reserved: number;
}

const MAGIC_AT = 0;
const VERSION_AT = 4;
const ID_AT = 6;
const FIRST_LSN_AT = 14;
const CRC_AT = 22;
const RESERVED_AT = 26;

/** Any 28 bytes decode; what they say is checked by `segmentProblem`. */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, SEGMENT_HEADER_BYTES);
  return {
    version: view.getUint16(VERSION_AT, true),
    id: view.getBigUint64(ID_AT, true),
    firstLsn: view.getBigUint64(FIRST_LSN_AT, true),
    reserved: view.getUint16(RESERVED_AT, true),
  };
}

export function encodeSegmentHeader(id: bigint, firstLsn: bigint): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  bytes.write(WAL_MAGIC, MAGIC_AT, 'latin1');
  bytes.writeUInt16LE(WAL_VERSION, VERSION_AT);
  bytes.writeBigUInt64LE(id, ID_AT);
  bytes.writeBigUInt64LE(firstLsn, FIRST_LSN_AT);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, CRC_AT)), CRC_AT);
  return bytes;
}

export const hasWalMagic = (bytes: Uint8Array): boolean =>
  bytes.byteLength >= WAL_MAGIC.length &&
  Buffer.from(bytes.buffer, bytes.byteOffset, WAL_MAGIC.length).toString('latin1') === WAL_MAGIC;

/** Why the engine would refuse the header of the segment `index`, counted from 0; undefined if it would not. */
export function segmentProblem(bytes: Uint8Array, index: number): string | undefined {
  if (bytes.byteLength < SEGMENT_HEADER_BYTES) return 'the file ends before it';
  if (!hasWalMagic(bytes)) return `it does not begin with ${WAL_MAGIC}`;
  const { version, id } = decodeSegmentHeader(bytes);
  if (version !== WAL_VERSION) return `its version is ${version} and not ${WAL_VERSION}`;
  const view = new DataView(bytes.buffer, bytes.byteOffset, SEGMENT_HEADER_BYTES);
  if (view.getUint32(CRC_AT, true) !== crc32(bytes.subarray(0, CRC_AT))) return 'its checksum does not match';
  const expected = FIRST_SEGMENT_ID + BigInt(index);
  return id === expected ? undefined : `its id is ${id} and not ${expected}`;
}
