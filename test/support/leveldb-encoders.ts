import { deflateRawSync, deflateSync } from 'node:zlib';
import { compressSync } from 'snappy';
import { crc32c, maskCrc } from '../../src/format/crc32c.ts';
import { BATCH_HEADER_BYTES, type BatchOperation } from '../../src/format/leveldb/batch.ts';
import { bloomHash } from '../../src/format/leveldb/filter.ts';
import { TAG_BYTES, TYPE_DELETION, TYPE_VALUE } from '../../src/format/leveldb/internal-key.ts';
import { BLOCK_BYTES, HEADER_BYTES } from '../../src/format/leveldb/log.ts';
import { SNAPPY, TRAILER_BYTES, UNCOMPRESSED } from '../../src/format/leveldb/table.ts';
import type { VersionEdit } from '../../src/format/leveldb/version-edit.ts';
import { encodeVarint } from '../../src/format/varint.ts';

/** Writers of LevelDB's formats: the product only reads them. Offsets and tags are those of its documents, not of our decoders. */

// of a batch
const AT_SEQUENCE = 0;
const AT_COUNT = 8;
// of a fragment in a log
const AT_CRC = 0;
const AT_LENGTH = 4;
const AT_TYPE = 6;
const FULL = 1;
const FIRST = 2;
const MIDDLE = 3;
const LAST = 4;
// of a filter
const MAX_PROBES = 30;
// of a version edit
const COMPARATOR = 1;
const LOG_NUMBER = 2;
const NEXT_FILE = 3;
const LAST_SEQUENCE = 4;
const COMPACT_POINTER = 5;
const DELETED_FILE = 6;
const NEW_FILE = 7;
const PREV_LOG_NUMBER = 9;

export const MAX_SEQUENCE = (1n << 56n) - 1n;

export const manifestName = (number: number): string => `MANIFEST-${String(number).padStart(6, '0')}`;

export function encodeInternalKey(userKey: Uint8Array, sequence: bigint, type: number): Buffer {
  const key = Buffer.alloc(userKey.byteLength + TAG_BYTES);
  key.set(userKey);
  key.writeBigUInt64LE((sequence << 8n) | BigInt(type), userKey.byteLength);
  return key;
}

/** A byte string with its length in front, as keys and names are stored. */
function encodeLengthPrefixed(bytes: Uint8Array): Buffer {
  return Buffer.concat([encodeVarint(bytes.byteLength), bytes]);
}

export function encodeBatch(sequence: bigint, operations: readonly BatchOperation[]): Buffer {
  const header = Buffer.alloc(BATCH_HEADER_BYTES);
  header.writeBigUInt64LE(sequence, AT_SEQUENCE);
  header.writeUInt32LE(operations.length, AT_COUNT);
  const body = operations.flatMap((operation) =>
    operation.type === 'put'
      ? [encodeVarint(TYPE_VALUE), encodeLengthPrefixed(operation.key), encodeLengthPrefixed(operation.value)]
      : [encodeVarint(TYPE_DELETION), encodeLengthPrefixed(operation.key)],
  );
  return Buffer.concat([header, ...body]);
}

/** Splits payloads into records, as a writer would whose file has `offset` bytes already. */
export function encodeLog(payloads: Iterable<Uint8Array>, offset = 0): Buffer {
  const out: Buffer[] = [];
  let at = offset;
  const put = (bytes: Buffer): void => {
    out.push(bytes);
    at += bytes.length;
  };
  for (const payload of payloads) {
    let rest = payload;
    let isFirst = true;
    do {
      const room = BLOCK_BYTES - (at % BLOCK_BYTES);
      if (room < HEADER_BYTES) {
        put(Buffer.alloc(room));
        continue;
      }
      const piece = rest.subarray(0, room - HEADER_BYTES);
      rest = rest.subarray(piece.byteLength);
      const isLast = rest.byteLength === 0;
      put(encodeFragment(isFirst ? (isLast ? FULL : FIRST) : isLast ? LAST : MIDDLE, piece));
      isFirst = false;
    } while (isFirst || rest.byteLength > 0);
  }
  return Buffer.concat(out);
}

function encodeFragment(type: number, data: Uint8Array): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES + data.byteLength);
  bytes.writeUInt16LE(data.byteLength, AT_LENGTH);
  bytes[AT_TYPE] = type;
  bytes.set(data, HEADER_BYTES);
  bytes.writeUInt32LE(maskCrc(crc32c(bytes.subarray(AT_TYPE))), AT_CRC);
  return bytes;
}

/** Entries as LevelDB would lay them out, in the order given. */
export function encodeBlock(
  entries: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[],
  restartInterval = 16,
): Buffer {
  const out: Uint8Array[] = [];
  const restarts: number[] = entries.length === 0 ? [0] : [];
  let at = 0;
  let previous: Uint8Array = new Uint8Array();
  entries.forEach(({ key, value }, index) => {
    let shared = 0;
    if (index % restartInterval === 0) restarts.push(at);
    else while (shared < key.length && key[shared] === previous[shared]) shared++;
    const lengths = [shared, key.length - shared, value.length].map(encodeVarint);
    for (const part of [...lengths, key.subarray(shared), value]) {
      out.push(part);
      at += part.length;
    }
    previous = key;
  });
  const trailer = Buffer.alloc(4 * (restarts.length + 1));
  [...restarts, restarts.length].forEach((word, index) => {
    trailer.writeUInt32LE(word, 4 * index);
  });
  return Buffer.concat([...out, trailer]);
}

/** One filter over user keys, as LevelDB makes it. */
export function encodeBloom(keys: readonly Buffer[], bitsPerKey = 10): Buffer {
  const probes = Math.max(1, Math.min(MAX_PROBES, Math.floor(bitsPerKey * 0.69)));
  const filter = Buffer.alloc(Math.max(8, Math.ceil((keys.length * bitsPerKey) / 8)) + 1);
  const bits = (filter.length - 1) * 8;
  filter[filter.length - 1] = probes;
  for (const key of keys) {
    let hash = bloomHash(key, key.length);
    const delta = ((hash >>> 17) | (hash << 15)) >>> 0;
    for (let probe = 0; probe < probes; probe++) {
      const bit = hash % bits;
      filter[bit >>> 3]! |= 1 << (bit & 7);
      hash = (hash + delta) >>> 0;
    }
  }
  return filter;
}

/** A filter block of these filters, one for every 2^base bytes of the file. */
export function encodeFilterBlock(filters: readonly Buffer[], base = 11): Buffer {
  const trailer = Buffer.alloc(4 * filters.length + TRAILER_BYTES);
  let at = 0;
  filters.forEach((filter, index) => {
    trailer.writeUInt32LE(at, 4 * index);
    at += filter.length;
  });
  trailer.writeUInt32LE(at, 4 * filters.length);
  trailer[trailer.length - 1] = base;
  return Buffer.concat([...filters, trailer]);
}

/** The number in the trailer, and what it stands for: zlib and raw deflate are Mojang's. */
const COMPRESSIONS = {
  none: { type: UNCOMPRESSED, compress: (content: Buffer): Buffer => content },
  snappy: { type: SNAPPY, compress: (content: Buffer): Buffer => compressSync(content) },
  zlib: { type: 2, compress: (content: Buffer): Buffer => deflateSync(content) },
  deflate: { type: 4, compress: (content: Buffer): Buffer => deflateRawSync(content) },
};

/** A block with its trailer, as it stands in the file. */
export function sealBlock(content: Buffer, compression: keyof typeof COMPRESSIONS = 'none'): Buffer {
  const { type, compress } = COMPRESSIONS[compression];
  const packed = compress(content);
  const sealed = Buffer.alloc(packed.length + TRAILER_BYTES);
  packed.copy(sealed);
  sealed[packed.length] = type;
  sealed.writeUInt32LE(maskCrc(crc32c(sealed.subarray(0, packed.length + 1))), packed.length + 1);
  return sealed;
}

/** In the order of LevelDB's own encoder. */
export function encodeVersionEdit(edit: Partial<VersionEdit>): Buffer {
  const out: Buffer[] = [];
  const put = (...fields: (number | bigint | Uint8Array)[]): void => {
    for (const field of fields) {
      out.push(field instanceof Uint8Array ? encodeLengthPrefixed(field) : encodeVarint(field));
    }
  };
  if (edit.comparator !== undefined) put(COMPARATOR, Buffer.from(edit.comparator));
  if (edit.logNumber !== undefined) put(LOG_NUMBER, edit.logNumber);
  if (edit.prevLogNumber !== undefined) put(PREV_LOG_NUMBER, edit.prevLogNumber);
  if (edit.nextFile !== undefined) put(NEXT_FILE, edit.nextFile);
  if (edit.lastSequence !== undefined) put(LAST_SEQUENCE, edit.lastSequence);
  for (const { level, key } of edit.compactPointers ?? []) put(COMPACT_POINTER, level, key);
  for (const { level, number } of edit.deletedFiles ?? []) put(DELETED_FILE, level, number);
  for (const { level, number, sizeBytes, smallest, largest } of edit.newFiles ?? []) {
    put(NEW_FILE, level, number, sizeBytes, smallest, largest);
  }
  return Buffer.concat(out);
}
