import type { OpenFile } from '../../env/file-system.ts';
import { RunControl } from '../../env/worker-pool.ts';
import type { TableFooter, TableHeader } from '../../format/lsm/table.ts';
import {
  BLOCK_HEADER_BYTES,
  blockDamage,
  decodeBlock,
  type TableEntry,
} from '../../format/lsm/table-block.ts';
import type { IndexEntry } from '../../format/lsm/table-index.ts';
import { decompressBlock } from './block-payload.ts';
import { checkTable } from './check-table.ts';
import { type DescribedKey, describeKey } from './describe.ts';
import { FindingList } from './findings.ts';
import { readUpTo } from './read.ts';
import { MAX_PIECE_BYTES, readFrame } from './table-frame.ts';

export interface TableDescription {
  readonly kind: 'table';
  readonly size_bytes: number;
  /** Header, footer and filter; null when header or footer cannot be read. */
  readonly frame: {
    readonly compression: string;
    readonly blocks: number;
    readonly entries: string;
    readonly min_key_bytes: number;
    readonly max_key_bytes: number;
    readonly index: { readonly offset: number; readonly size_bytes: number };
    readonly filter: { readonly offset: number; readonly size_bytes: number; readonly hashes: number } | null;
    readonly min_timestamp: string;
    readonly max_timestamp: string;
    readonly crc32: number;
  } | null;
  readonly blocks_total: number;
  /** The first of them. */
  readonly blocks: readonly DescribedBlock[];
  /** The first of them, if they were asked for. */
  readonly entries?: readonly DescribedTableEntry[];
  readonly problems: readonly string[];
}

export interface DescribedBlock {
  readonly offset: number;
  readonly size_bytes: number;
  readonly entries: number;
  readonly first_key: DescribedKey;
  readonly last_key: DescribedKey;
}

export interface DescribedTableEntry {
  readonly type: 'put' | 'delete';
  readonly timestamp: string;
  readonly sequence: string;
  readonly key: DescribedKey;
  readonly value_bytes: number;
}

export async function describeTable(
  file: OpenFile,
  sizeBytes: number,
  limit: number,
  withEntries: boolean,
): Promise<TableDescription> {
  const frame = await readFrame(file, sizeBytes, new FindingList(''));
  const index = frame?.index ?? [];
  // All of the table is looked at, however little of it is listed.
  const { findings } = await checkTable(file, { path: '', level: 'full', live: true }, new RunControl());
  const problems = findings.map(({ offset, message }) =>
    offset === null ? message : `at byte ${offset}: ${message}`,
  );
  const blocks: DescribedBlock[] = [];
  for (const entry of index.slice(0, limit)) blocks.push(await describeBlock(file, entry));
  const entries =
    frame !== undefined && withEntries
      ? await listEntries(file, frame.header, index, frame.footer.indexOffset, limit)
      : undefined;
  return {
    kind: 'table',
    size_bytes: sizeBytes,
    frame: frame === undefined ? null : describeFrame(frame.header, frame.footer, frame.filter?.hashCount),
    blocks_total: index.length,
    blocks,
    ...(entries === undefined ? {} : { entries }),
    problems,
  };
}

function describeFrame(
  header: TableHeader,
  footer: TableFooter,
  hashes: number | undefined,
): TableDescription['frame'] {
  return {
    compression: header.compression,
    blocks: header.blockCount,
    entries: String(header.entryCount),
    min_key_bytes: header.minKeyBytes,
    max_key_bytes: header.maxKeyBytes,
    index: { offset: footer.indexOffset, size_bytes: footer.indexBytes },
    filter:
      hashes === undefined ? null : { offset: footer.bloomOffset, size_bytes: footer.bloomBytes, hashes },
    min_timestamp: String(footer.minTimestamp),
    max_timestamp: String(footer.maxTimestamp),
    crc32: footer.crc32,
  };
}

async function describeBlock(file: OpenFile, { offset, sizeBytes, firstKey, lastKey }: IndexEntry) {
  const head = Number.isSafeInteger(offset)
    ? await readUpTo(file, offset, BLOCK_HEADER_BYTES)
    : Buffer.alloc(0);
  return {
    offset,
    size_bytes: sizeBytes,
    entries: head.byteLength < BLOCK_HEADER_BYTES ? 0 : head.readUInt32LE(0),
    first_key: describeKey(firstKey),
    last_key: describeKey(lastKey),
  };
}

async function listEntries(
  file: OpenFile,
  header: TableHeader,
  index: readonly IndexEntry[],
  blocksEnd: number,
  limit: number,
): Promise<DescribedTableEntry[]> {
  const listed: DescribedTableEntry[] = [];
  for (const { offset, sizeBytes } of index) {
    if (listed.length >= limit) break;
    if (offset + sizeBytes > blocksEnd || sizeBytes > MAX_PIECE_BYTES) continue; // named among the problems
    const read = readBlock(await readUpTo(file, offset, sizeBytes), offset, header.compression);
    for (const entry of read.slice(0, limit - listed.length)) {
      listed.push({
        type: entry.type,
        timestamp: String(entry.timestamp),
        sequence: String(entry.sequence),
        key: describeKey(entry.key),
        value_bytes: entry.value.byteLength,
      });
    }
  }
  return listed;
}

/** None of a block that cannot be read: why is said already. */
function readBlock(bytes: Buffer, offset: number, compression: TableHeader['compression']): TableEntry[] {
  if (compression !== 'none') {
    const { block } = decompressBlock(bytes, compression);
    return block === undefined ? [] : (decodeBlock(block, offset).value ?? []);
  }
  return blockDamage(bytes, offset) === undefined ? (decodeBlock(bytes, offset).value ?? []) : [];
}
