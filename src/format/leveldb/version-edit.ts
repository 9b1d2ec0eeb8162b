import { decodeBigVarint, decodeVarint, encodeVarint } from '../varint.ts';
import { TAG_BYTES } from './internal-key.ts';

/** A record of the MANIFEST: fields, each behind its tag, that change which files make up the database. */

const COMPARATOR = 1;
const LOG_NUMBER = 2;
const NEXT_FILE = 3;
const LAST_SEQUENCE = 4;
const COMPACT_POINTER = 5;
const DELETED_FILE = 6;
const NEW_FILE = 7;
const PREV_LOG_NUMBER = 9; // 8 was used once and is no more

export const LEVELS = 7;

export interface TableEntry {
  readonly level: number;
  readonly number: number;
  readonly sizeBytes: number;
  /** Internal keys of the first and the last entry. */
  readonly smallest: Buffer;
  readonly largest: Buffer;
}

export interface VersionEdit {
  comparator?: string;
  logNumber?: number;
  prevLogNumber?: number;
  nextFile?: number;
  lastSequence?: bigint;
  readonly compactPointers: { readonly level: number; readonly key: Buffer }[];
  readonly deletedFiles: { readonly level: number; readonly number: number }[];
  readonly newFiles: TableEntry[];
}

export const emptyEdit = (): VersionEdit => ({ compactPointers: [], deletedFiles: [], newFiles: [] });

/** The fields in the order in which LevelDB writes them. */
export function encodeVersionEdit(edit: VersionEdit): Buffer {
  const { comparator, logNumber, prevLogNumber, nextFile, lastSequence } = edit;
  const parts: Buffer[] = [];
  const put = (...numbers: (number | bigint)[]): void => void parts.push(...numbers.map(encodeVarint));
  const putBytes = (bytes: Buffer): void => void parts.push(encodeVarint(bytes.length), bytes);
  if (comparator !== undefined) {
    put(COMPARATOR);
    putBytes(Buffer.from(comparator));
  }
  if (logNumber !== undefined) put(LOG_NUMBER, logNumber);
  if (prevLogNumber !== undefined) put(PREV_LOG_NUMBER, prevLogNumber);
  if (nextFile !== undefined) put(NEXT_FILE, nextFile);
  if (lastSequence !== undefined) put(LAST_SEQUENCE, lastSequence);
  for (const { level, key } of edit.compactPointers) {
    put(COMPACT_POINTER, level);
    putBytes(key);
  }
  for (const { level, number } of edit.deletedFiles) put(DELETED_FILE, level, number);
  for (const { level, number, sizeBytes, smallest, largest } of edit.newFiles) {
    put(NEW_FILE, level, number, sizeBytes);
    putBytes(smallest);
    putBytes(largest);
  }
  return Buffer.concat(parts);
}

/** The edit, or why the payload is not one. Keys are copies. File numbers beyond 2^53 count as damage. */
export function decodeVersionEdit(payload: Buffer): VersionEdit | string {
  const edit = emptyEdit();
  const cursor = new Cursor(payload);
  while (!cursor.atEnd) {
    const offset = cursor.at;
    const tag = cursor.number();
    if (tag === undefined) return `no tag at byte ${offset} of the edit`;
    const problem = decodeField(cursor, tag, edit);
    if (problem !== undefined) return `${problem} at byte ${offset} of the edit`;
  }
  return edit;
}

function decodeField(cursor: Cursor, tag: number, edit: VersionEdit): string | undefined {
  switch (tag) {
    case COMPARATOR: {
      const name = cursor.bytes();
      if (name === undefined) return 'an unreadable comparator name';
      edit.comparator = name.toString('utf8');
      return undefined;
    }
    case LOG_NUMBER:
    case PREV_LOG_NUMBER:
    case NEXT_FILE: {
      const number = cursor.number();
      if (number === undefined) return 'an unreadable number';
      if (tag === LOG_NUMBER) edit.logNumber = number;
      else if (tag === PREV_LOG_NUMBER) edit.prevLogNumber = number;
      else edit.nextFile = number;
      return undefined;
    }
    case LAST_SEQUENCE: {
      const sequence = cursor.bigNumber();
      if (sequence === undefined) return 'an unreadable sequence';
      edit.lastSequence = sequence;
      return undefined;
    }
    case COMPACT_POINTER: {
      const level = cursor.level();
      const key = cursor.internalKey();
      if (level === undefined || key === undefined) return 'an unreadable compact pointer';
      edit.compactPointers.push({ level, key });
      return undefined;
    }
    case DELETED_FILE: {
      const level = cursor.level();
      const number = cursor.number();
      if (level === undefined || number === undefined) return 'an unreadable deleted file';
      edit.deletedFiles.push({ level, number });
      return undefined;
    }
    case NEW_FILE: {
      const level = cursor.level();
      const number = cursor.number();
      const sizeBytes = cursor.number();
      const smallest = cursor.internalKey();
      const largest = cursor.internalKey();
      if (
        level === undefined ||
        number === undefined ||
        sizeBytes === undefined ||
        smallest === undefined ||
        largest === undefined
      ) {
        return 'an unreadable new file';
      }
      edit.newFiles.push({ level, number, sizeBytes, smallest, largest });
      return undefined;
    }
    default:
      return `the unknown tag ${tag}`;
  }
}

/** Reads fields. After the first one that does not fit, every read returns undefined. */
class Cursor {
  readonly #bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.at >= this.#bytes.length;
  }

  number(): number | undefined {
    const read = decodeVarint(this.#bytes, this.at);
    this.at = read?.next ?? Number.POSITIVE_INFINITY;
    return read?.value;
  }

  bigNumber(): bigint | undefined {
    const read = decodeBigVarint(this.#bytes, this.at);
    this.at = read?.next ?? Number.POSITIVE_INFINITY;
    return read?.value;
  }

  level(): number | undefined {
    const level = this.number();
    return level !== undefined && level < LEVELS ? level : undefined;
  }

  bytes(): Buffer | undefined {
    const length = this.number();
    if (length === undefined || length > this.#bytes.length - this.at) {
      this.at = Number.POSITIVE_INFINITY;
      return undefined;
    }
    const bytes = Buffer.from(this.#bytes.subarray(this.at, this.at + length));
    this.at += length;
    return bytes;
  }

  internalKey(): Buffer | undefined {
    const key = this.bytes();
    return key !== undefined && key.length >= TAG_BYTES ? key : undefined;
  }
}
