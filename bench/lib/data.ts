import { randomBytes, randomFillSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { openLsm } from '../../src/index.ts';
import { run } from './command.ts';
import { fork, requireSpace } from './folders.ts';

/** Databases and folders to measure on, made once for all parts. */

export type DatabaseKind = 'rocksdb' | 'lsm' | 'leveldb';

export interface Shape {
  readonly valueBytes: number;
  /** LevelDB and RocksDB compress blocks with Snappy; values are then half random. */
  readonly isCompressed: boolean;
}

export const LARGE_VALUES: Shape = { valueBytes: 4096, isCompressed: false };
export const SMALL_VALUES: Shape = { valueBytes: 100, isCompressed: true };
/** For what has no compression, or to compare with it. */
export const SMALL_PLAIN_VALUES: Shape = { valueBytes: 100, isCompressed: false };

/** Some 50, and a quarter of them is a whole number too. */
const TABLES = 52;
const PER_BATCH = 256;

export const keyOf = (index: number): string => `key${String(index).padStart(10, '0')}`;

/** Printable, since `ldb load` reads lines. */
export function randomValue({ valueBytes, isCompressed }: Shape): string {
  if (!isCompressed)
    return randomBytes(Math.ceil((valueBytes * 3) / 4))
      .toString('base64url')
      .slice(0, valueBytes);
  return randomBytes(valueBytes >> 2).toString('hex') + 'x'.repeat(valueBytes >> 1);
}

export const levelOptions = (shape: Shape, tableBytes: number) => ({
  compression: shape.isCompressed,
  writeBufferSize: tableBytes,
  maxFileSize: tableBytes,
});

export class Data {
  readonly #root: string;
  readonly #tableBytes: number;
  readonly #made = new Map<string, { bytes: number; folder: string }[]>();
  readonly #tell: (line: string) => void;

  /** Tables have a share of `sizeBytes`, whatever the size of a database. */
  constructor(root: string, sizeBytes: number, tell: (line: string) => void) {
    this.#root = root;
    this.#tableBytes = Math.ceil(sizeBytes / TABLES);
    this.#tell = tell;
  }

  get tableBytes(): number {
    return this.#tableBytes;
  }

  /** How many keys a database of so many bytes has: `keyOf(0)` and on. */
  keysIn(bytes: number, shape: Shape = LARGE_VALUES): number {
    return Math.ceil(bytes / shape.valueBytes);
  }

  /** Closed, all in tables but for the last few. A larger one grows out of a smaller. */
  database(kind: DatabaseKind, bytes: number, shape: Shape = LARGE_VALUES): Promise<string> {
    const name = `${kind}-${shape.valueBytes}${shape.isCompressed ? '-snappy' : ''}`;
    return this.#grown(name, bytes, (folder, from) => {
      const keys = { from: this.keysIn(from, shape), to: this.keysIn(bytes, shape) };
      return FILL[kind](folder, keys, shape, this.#tableBytes);
    });
  }

  /** As many files as a database of so many bytes has tables, and as large. */
  likeTables(bytes: number): Promise<string> {
    return this.files(Math.round(bytes / this.#tableBytes), this.#tableBytes);
  }

  /** Files of random bytes, all of one size. */
  files(count: number, fileBytes: number): Promise<string> {
    return this.#grown(`files-of-${fileBytes}`, count * fileBytes, async (folder, from) => {
      mkdirSync(folder, { recursive: true });
      const content = Buffer.allocUnsafe(fileBytes);
      for (let i = from / fileBytes; i < count; i++)
        writeFileSync(join(folder, `${i}.dat`), randomFillSync(content));
    });
  }

  /** A closed one for a part to write into, as far as the engine writes into what is there. */
  fork(folder: string, name: string): Promise<string> {
    return fork(folder, join(this.#root, name));
  }

  async #grown(
    name: string,
    bytes: number,
    fill: (folder: string, from: number) => Promise<void>,
  ): Promise<string> {
    const made = this.#made.get(name) ?? [];
    this.#made.set(name, made);
    const known = made.find((stage) => stage.bytes === bytes);
    if (known !== undefined) return known.folder;
    requireSpace(this.#root, bytes);
    this.#tell(`making ${name}, ${(bytes / 1e6).toFixed(0)} MB`);
    const [base] = made.filter((stage) => stage.bytes < bytes).sort((a, b) => b.bytes - a.bytes);
    const folder = join(this.#root, `${name}-${bytes}`);
    if (base !== undefined) await fork(base.folder, folder);
    await fill(folder, base?.bytes ?? 0);
    made.push({ bytes, folder });
    return folder;
  }
}

interface Keys {
  readonly from: number;
  readonly to: number;
}

type Fill = (folder: string, keys: Keys, shape: Shape, tableBytes: number) => Promise<void>;

const FILL: Readonly<Record<DatabaseKind, Fill>> = {
  async rocksdb(folder, keys, shape, tableBytes) {
    const compression = shape.isCompressed ? 'snappy' : 'no';
    const sizes = [`--write_buffer_size=${tableBytes}`, `--file_size=${tableBytes}`];
    const options = ['--create_if_missing', ...sizes, `--compression_type=${compression}`];
    await run('ldb', [`--db=${folder}`, ...options, 'load', '--disable_wal'], { input: lines(keys, shape) });
  },
  async lsm(folder, keys, shape, tableBytes) {
    const database = await openLsm(folder, { memtableBytes: tableBytes, compactAtTables: 100_000 });
    for (const ops of batches(keys, shape)) await database.batch(ops);
    await database.checkpoint();
    await database.close();
  },
  async leveldb(folder, keys, shape, tableBytes) {
    const database = new ClassicLevel(folder, levelOptions(shape, tableBytes));
    for (const ops of batches(keys, shape)) await database.batch(ops);
    await database.close();
  },
};

function* batches(keys: Keys, shape: Shape) {
  for (let i = keys.from; i < keys.to; i += PER_BATCH) {
    const length = Math.min(PER_BATCH, keys.to - i);
    yield Array.from({ length }, (_, k) => ({
      type: 'put' as const,
      key: keyOf(i + k),
      value: randomValue(shape),
    }));
  }
}

function* lines(keys: Keys, shape: Shape) {
  for (const ops of batches(keys, shape)) yield ops.map(({ key, value }) => `${key} ==> ${value}\n`).join('');
}
