import type { OpenFile } from '../../env/file-system.ts';
import type { TaskRun } from '../../env/run-control.ts';
import {
  TABLE_FOOTER_BYTES,
  TABLE_HEADER_BYTES,
  type TableFooter,
  type TableHeader,
} from '../../format/lsm/table.ts';
import { BLOCK_OVERHEAD_BYTES } from '../../format/lsm/table-block.ts';
import type { IndexEntry } from '../../format/lsm/table-index.ts';
import { Sums } from '../../format/sums.ts';
import type { FileCheck, FileCheckRequest } from '../engine.ts';
import type { Findings } from '../findings.ts';
import { checkRawFile } from '../raw-file-check.ts';
import { withoutScanner, withScanner } from '../scanner.ts';
import { SequentialReader } from '../sequential-reader.ts';
import { BlockScan, type Totals } from './block-scan.ts';
import type { TableFacts } from './facts.ts';
import { findingsOf } from './findings.ts';
import { TABLES, tableId } from './names.ts';
import { MAX_PIECE_BYTES, readFrame, readIndex, type TableFrame } from './table-frame.ts';
import { TableScanner } from './table-scanner.ts';

const NONE = new Uint8Array();

/**
 * Reads a table: header, footer, index and filter first, then the whole file once from begin to end, for its CRC-32,
 * for the checksum in the footer and, at the level `full`, for each block and each entry.
 */
export async function checkTable(
  file: OpenFile,
  request: FileCheckRequest,
  run: TaskRun,
): Promise<FileCheck> {
  const findings = findingsOf(request.path);
  const { sizeBytes } = await file.stat();
  const frame = await readFrame(file, sizeBytes, findings);
  if (frame === undefined) {
    return {
      ...(await checkRawFile(file, request, run)),
      findings: findings.list,
      counts: { tables: 1 },
    };
  }
  const { header, footer, indexBytes, filter } = frame;
  const isFull = request.level === 'full';
  const withScan: typeof withoutScanner = (use) =>
    isFull && indexBytes !== undefined
      ? withScanner([indexBytes, filter?.bits ?? NONE], use)
      : withoutScanner(use);
  return withScan(async ({ buffer, scanner, kept }) => {
    const sums = new Sums(!request.live);
    const reader = new SequentialReader(file, run, buffer, sums);
    const fast =
      scanner && new TableScanner(scanner, { indexAt: kept[0]!, filterAt: kept[1]! }, frame, indexBytes!);
    const scan = new BlockScan(findings, header.compression, filter, fast);
    const isScanned = await scanAll(frame, { reader, scan, fast, isFull }, findings);
    if (isScanned) compareTotals(scan.totals, header, footer, sizeBytes, findings);
    const footerAt = sizeBytes - TABLE_FOOTER_BYTES;
    await reader.skipTo(footerAt);
    reader.flush();
    if (sums.crc32 !== footer.crc32) {
      findings.error('LSM_TABLE_CHECKSUM', footerAt, 'the checksum over the whole table does not match');
    }
    await reader.skipTo(sizeBytes);
    reader.flush();

    const facts: TableFacts = {
      kind: 'table',
      id: String(tableId(request.path.slice(TABLES.length + 1)) ?? ''),
      entries: String(header.entryCount),
      minTimestamp: String(footer.minTimestamp),
      maxTimestamp: String(footer.maxTimestamp),
    };
    return {
      ...sums.result(),
      findings: findings.list,
      counts: {
        tables: 1,
        blocks: isScanned ? scan.totals.blocks : header.blockCount,
        entries: isScanned ? scan.totals.entries : Number(header.entryCount),
      },
      facts,
    };
  });
}

interface Scanning {
  readonly reader: SequentialReader;
  readonly scan: BlockScan;
  readonly fast: TableScanner | undefined;
  readonly isFull: boolean;
}

/** The index and, at the level `full`, all blocks. Resolves to whether they were looked at. */
async function scanAll(
  frame: TableFrame,
  { reader, scan, fast, isFull }: Scanning,
  findings: Findings,
): Promise<boolean> {
  if (isFull) await reader.skipTo(TABLE_HEADER_BYTES);
  let passed = 0;
  if (fast !== undefined && frame.header.compression === 'none') {
    const { blocks, entries, isEnd } = await fast.pass(reader);
    scan.pass(blocks, entries);
    if (isEnd) return true;
    passed = blocks;
  }
  const index = readIndex(frame, findings);
  if (!isFull || index === undefined) return false;
  await scanBlocks(reader, scan, index.slice(passed), frame.footer.indexOffset, findings);
  return true;
}

/**
 * Reads each block that lies between the header and the index and after the block before it. The check of the index names
 * other blocks. They are not read: a hostile index could make that cost far more than the size of the file.
 */
async function scanBlocks(
  reader: SequentialReader,
  scan: BlockScan,
  index: readonly IndexEntry[],
  blocksEnd: number,
  findings: Findings,
): Promise<void> {
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
    if (offset > reader.position) await reader.skipTo(offset);
    // Awaiting what is in memory already would take longer than checking a small block.
    scan.add(reader.takeBuffered(sizeBytes) ?? (await reader.take(sizeBytes)), entry);
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
  findings: Findings,
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
