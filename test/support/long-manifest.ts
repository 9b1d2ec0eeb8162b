import { appendFileSync, closeSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { parseCurrent } from '../../src/format/leveldb/file-name.ts';
import { TYPE_VALUE } from '../../src/format/leveldb/internal-key.ts';
import { BLOCK_BYTES } from '../../src/format/leveldb/log.ts';
import { encodeInternalKey, encodeLog, encodeVersionEdit } from './leveldb-encoders.ts';

/** Edits are encoded once for so many bytes of the file: block for block the same bytes are valid again. */
const CHUNK_BYTES = 8 * 1024 * 1024;
const FIRST_NUMBER = 1_000_000;
const EDITS = 20;

/**
 * Appends edits to the MANIFEST in use until it has at least so many bytes: tables that come and go, as in years of compactions. The
 * tables that are left, and the last sequence, are those of before. Returns its name.
 */
export function lengthenManifest(dir: string, sizeBytes: number): string {
  const name = parseCurrent(readFileSync(join(dir, 'CURRENT')))!;
  const path = join(dir, name);
  appendFileSync(path, fillBlock(statSync(path).size));
  const chunk = chunkOf(Math.min(CHUNK_BYTES, sizeBytes));
  const file = openSync(path, 'a');
  for (let at = statSync(path).size; at < sizeBytes; at += chunk.length) writeSync(file, chunk);
  closeSync(file);
  return name;
}

/** Whole blocks of edits. What they add they also delete. */
function chunkOf(sizeBytes: number): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (let number = FIRST_NUMBER; at < sizeBytes - BLOCK_BYTES; number += EDITS) {
    const edits: Buffer[] = [];
    for (let table = number; table < number + EDITS; table++) edits.push(added(table), deleted(table));
    const bytes = encodeLog(edits, at);
    parts.push(bytes);
    at += bytes.length;
  }
  parts.push(fillBlock(at));
  return Buffer.concat(parts);
}

const keyOf = (text: string): Buffer => encodeInternalKey(Buffer.from(text), 1n, TYPE_VALUE);

const added = (number: number): Buffer =>
  encodeVersionEdit({
    nextFile: 10_000_000,
    compactPointers: [{ level: 1, key: keyOf(`compacted up to table ${number}`) }],
    newFiles: [
      {
        level: 2,
        number,
        sizeBytes: 2_000_000,
        smallest: keyOf(`a of table ${number}`),
        largest: keyOf(`z of table ${number}`),
      },
    ],
  });

const deleted = (number: number): Buffer => encodeVersionEdit({ deletedFiles: [{ level: 2, number }] });

/** One edit that takes the rest of a block to its last byte, or of the next one where it is too short for that. */
function fillBlock(at: number): Buffer {
  for (const blocks of [1, 2]) {
    const room = blocks * BLOCK_BYTES - (at % BLOCK_BYTES);
    for (let length = room; length > 0 && length > room - 64; length--) {
      const key = keyOf('x'.repeat(length));
      const bytes = encodeLog([encodeVersionEdit({ compactPointers: [{ level: 3, key }] })], at);
      if (bytes.length === room) return bytes;
    }
  }
  throw new Error(`no edit fills the block at ${at}`);
}
