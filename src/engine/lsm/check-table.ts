import type { OpenFile } from '../../env/file-system.ts';
import { readFully } from '../../env/io.ts';
import type { TaskRun } from '../../env/worker-pool.ts';
import { type BloomFilter, decodeBloom } from '../../format/lsm/bloom.ts';
import {
  type Damage,
  decodeTableFooter,
  decodeTableHeader,
  gapDamage,
  layoutDamage,
  MIN_TABLE_BYTES,
  TABLE_FOOTER_BYTES,
  TABLE_HEADER_BYTES,
  type TableFooter,
  type TableHeader,
} from '../../format/lsm/table.ts';
import { BLOCK_OVERHEAD_BYTES } from '../../format/lsm/table-block.ts';
import { decodeIndex, type IndexEntry, indexDamage } from '../../format/lsm/table-index.ts';
import type { FileCheck, FileCheckRequest } from '../engine.ts';
import { checkPlainFile } from '../plain.ts';
import { BlockScan, type Totals } from './block-scan.ts';
import type { TableFacts } from './facts.ts';
import { FindingList } from './findings.ts';
import { TABLES, tableId } from './names.ts';
import { SequentialReader } from './sequential-reader.ts';

/**
 * Reads a table: header, footer, index and filter first, then the whole file once from begin to end, for its CRC-32,
 * for the checksum in the footer and, at the level `full`, for each block and each entry.
 */
export async function checkTable(
  file: OpenFile,
  request: FileCheckRequest,
  run: TaskRun,
): Promise<FileCheck> {
  const findings = new FindingList(request.path);
  const { sizeBytes } = await file.stat();
  const frame = await readFrame(file, sizeBytes, findings);
  if (frame === undefined) {
    return { ...(await checkPlainFile(file, run)), findings: findings.list(), counts: { tables: 1 } };
  }
  const { header, footer, index, filter } = frame;
  const reader = new SequentialReader(file, run);
  const scan = new BlockScan(findings, header.compression, filter);
  if (request.level === 'full' && index !== undefined) {
    await scanBlocks(reader, scan, index, footer.indexOffset, findings);
    compareTotals(scan.totals, header, footer, sizeBytes, findings);
  }
  const footerAt = sizeBytes - TABLE_FOOTER_BYTES;
  await reader.skipTo(footerAt);
  if (reader.crc32 !== footer.crc32) {
    findings.error('LSM_TABLE_CHECKSUM', footerAt, 'the checksum over the whole table does not match');
  }
  await reader.skipTo(sizeBytes);

  const isScanned = request.level === 'full' && index !== undefined;
  const facts: TableFacts = {
    kind: 'table',
    id: String(tableId(request.path.slice(TABLES.length + 1)) ?? ''),
    entries: String(header.entryCount),
    minTimestamp: String(footer.minTimestamp),
    maxTimestamp: String(footer.maxTimestamp),
  };
  return {
    sizeBytes: reader.position,
    crc32: reader.crc32,
    findings: findings.list(),
    counts: {
      tables: 1,
      blocks: isScanned ? scan.totals.blocks : header.blockCount,
      entries: isScanned ? scan.totals.entries : Number(header.entryCount),
    },
    facts,
  };
}

/**
 * Larger blocks, indexes and filters are not read into memory. No entry is larger than the log that it went through, whose
 * default is half of this.
 */
const MAX_PIECE_BYTES = 1024 * 1024 * 1024;

interface Frame {
  readonly header: TableHeader;
  readonly footer: TableFooter;
  /** Absent when it is damaged. */
  readonly index: readonly IndexEntry[] | undefined;
  readonly filter: BloomFilter | undefined;
}

/** All around the blocks; undefined when header or footer do not say where that is. */
async function readFrame(
  file: OpenFile,
  sizeBytes: number,
  findings: FindingList,
): Promise<Frame | undefined> {
  const report = (damage: Damage) => findings.error(`LSM_${damage.code}`, damage.offset, damage.message);
  if (sizeBytes < MIN_TABLE_BYTES) {
    const message = `the file has ${sizeBytes} bytes and no room for a header and a footer`;
    findings.error('LSM_TABLE_LAYOUT', sizeBytes, message);
    return undefined;
  }
  const footerAt = sizeBytes - TABLE_FOOTER_BYTES;
  const header = decodeTableHeader(await readAt(file, 0, TABLE_HEADER_BYTES));
  if (header.damage !== undefined) report(header.damage);
  const footer = decodeTableFooter(await readAt(file, footerAt, TABLE_FOOTER_BYTES), footerAt);
  if (footer.damage !== undefined) report(footer.damage);
  if (header.value === undefined || footer.value === undefined) return undefined;
  reportHeader(header.value, findings);

  const layout = layoutDamage(header.value, footer.value, sizeBytes);
  if (layout !== undefined) {
    report(layout);
    return { header: header.value, footer: footer.value, index: undefined, filter: undefined };
  }
  if (Math.max(footer.value.indexBytes, footer.value.bloomBytes) > MAX_PIECE_BYTES) {
    findings.error('LSM_TABLE_LAYOUT', footerAt, 'index or filter are larger than any table needs');
    return { header: header.value, footer: footer.value, index: undefined, filter: undefined };
  }
  for (const gap of gapDamage(header.value, footer.value, sizeBytes)) report(gap);
  const { indexOffset, indexBytes, bloomOffset, bloomBytes } = footer.value;
  const index = decodeIndex(await readAt(file, indexOffset, indexBytes), indexOffset);
  if (index.damage !== undefined) report(index.damage);
  else for (const damage of indexDamage(index.value, header.value.blockCount, indexOffset)) report(damage);

  let filter: BloomFilter | undefined;
  if (header.value.hasBloom) {
    const decoded = decodeBloom(await readAt(file, bloomOffset, bloomBytes));
    if (decoded.filter === undefined) {
      findings.error('LSM_TABLE_BLOOM', bloomOffset, `the filter is damaged: ${decoded.problem}`);
    }
    filter = decoded.filter;
  }
  return { header: header.value, footer: footer.value, index: index.value, filter };
}

const FLAGS_AT = 6;
const RESERVED_AT = 28;

function reportHeader(header: TableHeader, findings: FindingList): void {
  if (header.unknownFlags !== 0) {
    const flags = header.unknownFlags.toString(16);
    findings.error('LSM_TABLE_FLAGS', FLAGS_AT, `the header has unknown flags: 0x${flags}`);
  }
  if (header.reserved !== 0) {
    findings.warn('LSM_TABLE_RESERVED', RESERVED_AT, 'the reserved field of the header is not 0');
  }
}

/**
 * Reads each block that lies in the blocks' part of the file and behind the one before. One that does not is named in
 * the findings on the index, and reading it could make a hostile index cost far more than the file's size.
 */
async function scanBlocks(
  reader: SequentialReader,
  scan: BlockScan,
  index: readonly IndexEntry[],
  blocksEnd: number,
  findings: FindingList,
): Promise<void> {
  await reader.skipTo(TABLE_HEADER_BYTES);
  for (const entry of index) {
    const { offset, sizeBytes } = entry;
    if (offset < reader.position || sizeBytes < BLOCK_OVERHEAD_BYTES || offset + sizeBytes > blocksEnd) {
      scan.skip();
      continue;
    }
    if (sizeBytes > MAX_PIECE_BYTES) {
      findings.error('LSM_TABLE_BLOCK', offset, `a block of ${sizeBytes} bytes is larger than any entry`);
      scan.skip();
      continue;
    }
    await reader.skipTo(offset);
    scan.add(await reader.take(sizeBytes), entry);
  }
}

const BLOCK_COUNT_AT = 8;
const ENTRY_COUNT_AT = 12;
const MIN_KEY_AT = 20;
const MAX_KEY_AT = 24;
const MIN_TIMESTAMP_AT = 24;
const MAX_TIMESTAMP_AT = 32;

function compareTotals(
  totals: Totals,
  header: TableHeader,
  footer: TableFooter,
  sizeBytes: number,
  findings: FindingList,
): void {
  if (!totals.isComplete) return;
  const footerAt = sizeBytes - TABLE_FOOTER_BYTES;
  const compare = (
    code: string,
    what: string,
    offset: number,
    declared: bigint | number,
    found: bigint | number,
  ) => {
    if (BigInt(declared) === BigInt(found)) return;
    findings.error(
      code,
      offset,
      `${what} should be ${found}, which is what the entries show, and is ${declared}`,
    );
  };
  const counts = 'LSM_TABLE_COUNTS';
  compare(counts, 'the number of blocks', BLOCK_COUNT_AT, header.blockCount, totals.blocks);
  compare(counts, 'the number of entries', ENTRY_COUNT_AT, header.entryCount, totals.entries);
  compare(counts, 'the length of the shortest key', MIN_KEY_AT, header.minKeyBytes, totals.minKeyBytes);
  compare(counts, 'the length of the longest key', MAX_KEY_AT, header.maxKeyBytes, totals.maxKeyBytes);
  const times = 'LSM_TABLE_TIMESTAMPS';
  compare(
    times,
    'the lowest timestamp',
    footerAt + MIN_TIMESTAMP_AT,
    footer.minTimestamp,
    totals.minTimestamp,
  );
  compare(
    times,
    'the highest timestamp',
    footerAt + MAX_TIMESTAMP_AT,
    footer.maxTimestamp,
    totals.maxTimestamp,
  );
}

/** Both bounds were checked against the file's size. What a shorter file lacks reads as missing. */
async function readAt(file: OpenFile, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  return bytes.subarray(0, await readFully(file, bytes, offset));
}
