import type { OpenFile } from '../../env/file-system.ts';
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
import { decodeIndex, type IndexEntry, indexDamage, MAX_INDEX_BYTES } from '../../format/lsm/table-index.ts';
import type { Findings } from '../findings.ts';
import { readUpTo } from './read.ts';

/**
 * Larger blocks, indexes and filters are not read into memory. No entry is larger than its log, and the default size of a log
 * is half of this.
 */
export const MAX_PIECE_BYTES = 1024 * 1024 * 1024;

export interface TableFrame {
  readonly header: TableHeader;
  readonly footer: TableFooter;
  /** As it stands in the file; absent where it lies outside of it. */
  readonly indexBytes: Buffer | undefined;
  readonly filter: BloomFilter | undefined;
}

/** Header, footer and filter, and the bytes of the index. Undefined when header or footer cannot be read. */
export async function readFrame(
  file: OpenFile,
  sizeBytes: number,
  findings: Findings,
): Promise<TableFrame | undefined> {
  const report = (damage: Damage) => findings.error(`LSM_${damage.code}`, damage.offset, damage.message);
  if (sizeBytes < MIN_TABLE_BYTES) {
    const message = `the file has ${sizeBytes} bytes and no room for a header and a footer`;
    findings.error('LSM_TABLE_LAYOUT', sizeBytes, message);
    return undefined;
  }
  const footerAt = sizeBytes - TABLE_FOOTER_BYTES;
  const header = decodeTableHeader(await readUpTo(file, 0, TABLE_HEADER_BYTES));
  if (header.damage !== undefined) report(header.damage);
  const footer = decodeTableFooter(await readUpTo(file, footerAt, TABLE_FOOTER_BYTES), footerAt);
  if (footer.damage !== undefined) report(footer.damage);
  if (header.value === undefined || footer.value === undefined) return undefined;
  reportHeader(header.value, findings);

  const bare = {
    header: header.value,
    footer: footer.value,
    indexBytes: undefined,
    filter: undefined,
  };
  const layout = layoutDamage(header.value, footer.value, sizeBytes);
  if (layout !== undefined) {
    report(layout);
    return bare;
  }
  if (footer.value.indexBytes > MAX_INDEX_BYTES || footer.value.bloomBytes > MAX_PIECE_BYTES) {
    findings.error('LSM_TABLE_LAYOUT', footerAt, 'index or filter are larger than any table needs');
    return bare;
  }
  for (const gap of gapDamage(header.value, footer.value, sizeBytes)) report(gap);
  const { indexOffset, indexBytes, bloomOffset, bloomBytes } = footer.value;
  const bytes = await readUpTo(file, indexOffset, indexBytes);
  let filter: BloomFilter | undefined;
  if (header.value.hasBloom) {
    const decoded = decodeBloom(await readUpTo(file, bloomOffset, bloomBytes));
    if (decoded.filter === undefined) {
      findings.error('LSM_TABLE_BLOOM', bloomOffset, `the filter is damaged: ${decoded.problem}`);
    }
    filter = decoded.filter;
  }
  return { header: header.value, footer: footer.value, indexBytes: bytes, filter };
}

/** The blocks of the index, whose keys are views into `indexBytes`. Undefined when it is damaged. */
export function readIndex(
  { header, footer, indexBytes }: TableFrame,
  findings: Findings,
): readonly IndexEntry[] | undefined {
  if (indexBytes === undefined) return undefined;
  const report = (damage: Damage) => findings.error(`LSM_${damage.code}`, damage.offset, damage.message);
  const index = decodeIndex(indexBytes, footer.indexOffset);
  if (index.damage !== undefined) report(index.damage);
  else for (const damage of indexDamage(index.value, header.blockCount, footer.indexOffset)) report(damage);
  return index.value;
}

const FLAGS_AT = 6;
const RESERVED_AT = 28;

function reportHeader(header: TableHeader, findings: Findings): void {
  if (header.unknownFlags !== 0) {
    const flags = header.unknownFlags.toString(16);
    findings.error('LSM_TABLE_FLAGS', FLAGS_AT, `the header has unknown flags: 0x${flags}`);
  }
  if (header.reserved !== 0) {
    findings.warning('LSM_TABLE_RESERVED', RESERVED_AT, 'the reserved field of the header is not 0');
  }
}
