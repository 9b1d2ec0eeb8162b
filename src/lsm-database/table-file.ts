import { join } from 'node:path';
import { decompressBlock } from '../engine/lsm/block-payload.ts';
import { tablePath } from '../engine/lsm/names.ts';
import type { FileSystem, OpenFile } from '../env/file-system.ts';
import { readExactly } from '../env/io.ts';
import { StillpointError } from '../errors.ts';
import { crc32 } from '../format/crc32.ts';
import { type BloomFilter, decodeBloom, mayContain } from '../format/lsm/bloom.ts';
import {
  type Decoded,
  decodeTableFooter,
  decodeTableHeader,
  layoutDamage,
  MIN_TABLE_BYTES,
  TABLE_FOOTER_BYTES,
  TABLE_HEADER_BYTES,
  type TableFooter,
  type TableHeader,
} from '../format/lsm/table.ts';
import { blockDamage, decodeBlock, type TableEntry } from '../format/lsm/table-block.ts';
import {
  decodeIndex,
  findBlock,
  findLastBlock,
  type IndexEntry,
  indexDamage,
  MAX_INDEX_BYTES,
} from '../format/lsm/table-index.ts';
import type { BlockCache } from './block-cache.ts';

const READ_BYTES = 256 * 1024;

interface TableParts {
  readonly id: bigint;
  readonly file: OpenFile;
  readonly sizeBytes: number;
  readonly header: TableHeader;
  readonly footer: TableFooter;
  readonly index: readonly IndexEntry[];
  readonly filter: BloomFilter | undefined;
}

/**
 * An open table: index and filter in memory, blocks read when needed. It counts its users, since it stays readable for those
 * under way after compaction has deleted its name; the last one closes it. Whoever opens it is the first user.
 *
 * Damage is `DATABASE_DAMAGED` and names the file: of the frame when opening, of a block when reading it.
 */
export class TableFile {
  readonly id: bigint;
  readonly path: string;
  readonly sizeBytes: number;
  readonly entryCount: bigint;
  /** As the footer says, which is under no checksum. */
  readonly maxTimestamp: bigint;
  readonly #file: OpenFile;
  readonly #compression: TableHeader['compression'];
  readonly #index: readonly IndexEntry[];
  readonly #filter: BloomFilter | undefined;
  #users = 1;

  private constructor(parts: TableParts) {
    this.id = parts.id;
    this.path = tablePath(parts.id);
    this.sizeBytes = parts.sizeBytes;
    this.entryCount = parts.header.entryCount;
    this.maxTimestamp = parts.footer.maxTimestamp;
    this.#file = parts.file;
    this.#compression = parts.header.compression;
    this.#index = parts.index;
    this.#filter = parts.filter;
  }

  /** @param verify Read the whole file for its checksum. */
  static async open(fs: FileSystem, dir: string, id: bigint, verify: boolean): Promise<TableFile> {
    const file = await fs.open(join(dir, tablePath(id)), 'read');
    try {
      return new TableFile(await readParts(file, id, verify));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get blockCount(): number {
    return this.#index.length;
  }

  retain(): void {
    this.#users++;
  }

  async release(): Promise<void> {
    this.#users--;
    if (this.#users === 0) await this.#file.close();
  }

  /** The newest version of a key here, a tombstone too. Filter, then index, then one block. */
  async get(key: Buffer, cache: BlockCache): Promise<TableEntry | undefined> {
    if (this.#filter !== undefined && !mayContain(this.#filter, key)) return undefined;
    const block = findBlock(this.#index, key);
    const place = this.#index[block];
    if (place === undefined || place.firstKey.compare(key) > 0) return undefined;
    let bytes = cache.get(this.id, block);
    if (bytes === undefined) {
      const stored = await readExactly(this.#file, place.offset, place.sizeBytes);
      bytes = this.#sound(stored, place.offset);
      cache.add(this.id, block, bytes);
    }
    return this.#entries(bytes, place.offset).find((entry) => entry.key.equals(key));
  }

  /** The block where a walk up from `key` begins, or from the first; `blockCount` if there is none. */
  firstBlock(key?: Buffer): number {
    return key === undefined ? 0 : findBlock(this.#index, key);
  }

  /** The block where a walk down from `key` begins, or from the last; -1 if there is none. */
  lastBlock(key?: Buffer): number {
    return key === undefined ? this.blockCount - 1 : findLastBlock(this.#index, key);
  }

  /** The entries of up to `count` adjacent blocks from `first` on, read at once; as many blocks as fit `READ_BYTES`, at least one. */
  async readBlocks(first: number, count: number): Promise<TableEntry[][]> {
    const from = this.#index[first]!.offset;
    let last = first;
    for (; last + 1 < Math.min(first + count, this.#index.length); last++) {
      const next = this.#index[last + 1]!;
      if (next.offset + next.sizeBytes - from > READ_BYTES) break;
    }
    const places = this.#index.slice(first, last + 1);
    const end = places.at(-1)!.offset + places.at(-1)!.sizeBytes;
    const bytes = await readExactly(this.#file, from, end - from);
    return places.map(({ offset, sizeBytes }) => {
      const block = bytes.subarray(offset - from, offset - from + sizeBytes);
      return this.#entries(this.#sound(block, offset), offset);
    });
  }

  damaged(problem: string, offset?: number): StillpointError {
    return damagedTable(this.#file.path, problem, offset);
  }

  /** The block as it was before compression, once its checksum holds. */
  #sound(stored: Buffer, offset: number): Buffer {
    if (this.#compression === 'none') {
      const damage = blockDamage(stored, offset);
      if (damage !== undefined) throw this.damaged(damage.message, damage.offset);
      return stored;
    }
    const { block, problem } = decompressBlock(stored, this.#compression);
    if (problem !== undefined) throw this.damaged(problem, offset);
    if (block !== undefined) return block;
    const { path } = this.#file;
    throw new StillpointError(
      'UNSUPPORTED_FILE',
      `the table ${path} is compressed with ${this.#compression}, which this version of Node cannot read`,
      { path, hint: 'Use Node 22.15 or later.' },
    );
  }

  #entries(block: Buffer, offset: number): TableEntry[] {
    return sound(this.#file.path, decodeBlock(block, offset));
  }
}

async function readParts(file: OpenFile, id: bigint, verify: boolean): Promise<TableParts> {
  const { path } = file;
  const { sizeBytes } = await file.stat();
  if (sizeBytes < MIN_TABLE_BYTES) throw damagedTable(path, `it has only ${sizeBytes} bytes`);
  const header = sound(path, decodeTableHeader(await readExactly(file, 0, TABLE_HEADER_BYTES)));
  const footerAt = sizeBytes - TABLE_FOOTER_BYTES;
  const footer = sound(
    path,
    decodeTableFooter(await readExactly(file, footerAt, TABLE_FOOTER_BYTES), footerAt),
  );
  const layout = layoutDamage(header, footer, sizeBytes);
  if (layout !== undefined) throw damagedTable(path, layout.message, layout.offset);
  if (verify && (await checksum(file, footerAt)) !== footer.crc32) {
    throw damagedTable(path, 'the checksum of the file does not match');
  }
  const { indexOffset } = footer;
  if (footer.indexBytes > MAX_INDEX_BYTES) {
    throw damagedTable(
      path,
      `an index of ${footer.indexBytes} bytes is more than any table needs`,
      indexOffset,
    );
  }
  const index = sound(
    path,
    decodeIndex(await readExactly(file, indexOffset, footer.indexBytes), indexOffset),
  );
  const wrong = indexDamage(index, header.blockCount, indexOffset)[0];
  if (wrong !== undefined) throw damagedTable(path, wrong.message, wrong.offset);
  return { id, file, sizeBytes, header, footer, index, filter: await readFilter(file, header, footer) };
}

async function readFilter(
  file: OpenFile,
  header: TableHeader,
  footer: TableFooter,
): Promise<BloomFilter | undefined> {
  if (!header.hasBloom) return undefined;
  const { filter, problem } = decodeBloom(await readExactly(file, footer.bloomOffset, footer.bloomBytes));
  if (problem !== undefined) {
    throw damagedTable(file.path, `its filter does not hold: ${problem}`, footer.bloomOffset);
  }
  return filter;
}

async function checksum(file: OpenFile, length: number): Promise<number> {
  let crc = 0;
  for (let at = 0; at < length; at += READ_BYTES) {
    crc = crc32(await readExactly(file, at, Math.min(READ_BYTES, length - at)), crc);
  }
  return crc;
}

function sound<T>(path: string, decoded: Decoded<T>): T {
  if (decoded.damage !== undefined) throw damagedTable(path, decoded.damage.message, decoded.damage.offset);
  return decoded.value;
}

function damagedTable(path: string, problem: string, offset?: number): StillpointError {
  const place = offset === undefined ? '' : ` at byte ${offset}`;
  return new StillpointError('DATABASE_DAMAGED', `the table ${path} is damaged${place}: ${problem}`, {
    path,
  });
}
