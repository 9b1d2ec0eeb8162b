import type { OpenFile } from '../../env/file-system.ts';
import { readExactly } from '../../env/io.ts';
import { BlockCursor } from '../../format/leveldb/block.ts';
import { BLOOM_POLICY, FilterBlock } from '../../format/leveldb/filter.ts';
import {
  type BlockHandle,
  checkSeal,
  decodeFooter,
  decodeHandle,
  FOOTER_BYTES,
  TRAILER_BYTES,
  unpackBlock,
} from '../../format/leveldb/table.ts';
import type { Findings } from '../findings.ts';

/** What is read before the data blocks: the footer and the blocks before it. */
export interface TableFrame {
  /** Content of the index block; undefined when it could not be read. */
  readonly index: Buffer | undefined;
  readonly filter: FilterBlock | undefined;
  /** False when the index or the metaindex is unreadable: then a gap in the layout is no damage of its own. */
  readonly isComplete: boolean;
  /** All blocks that are no data blocks, in file order. */
  readonly others: readonly NamedBlock[];
}

export interface NamedBlock extends BlockHandle {
  readonly name: string;
}

const FILTER_PREFIX = 'filter.';

/** Reads footer, index, metaindex and filter. Undefined when there is no footer to begin with. */
export async function readTableFrame(
  file: OpenFile,
  sizeBytes: number,
  findings: Findings,
): Promise<TableFrame | undefined> {
  if (sizeBytes < FOOTER_BYTES) {
    findings.error('LEVELDB_TABLE_FOOTER', 0, `${sizeBytes} bytes are too few for a table`);
    return undefined;
  }
  const footerAt = sizeBytes - FOOTER_BYTES;
  const footer = decodeFooter(await readExactly(file, footerAt, FOOTER_BYTES));
  if (typeof footer === 'string') {
    findings.error('LEVELDB_TABLE_FOOTER', footerAt, footer);
    return undefined;
  }
  const read = (block: NamedBlock, handleAt: number): Promise<Buffer | undefined> =>
    readBlock(file, block, { limit: footerAt, handleAt }, findings);
  const others: NamedBlock[] = [
    { name: 'metaindex', ...footer.metaindex },
    { name: 'index', ...footer.index },
  ];
  let filter: FilterBlock | undefined;
  const metaindex = await read(others[0]!, footerAt);
  for (const block of metaindex === undefined ? [] : namedBlocks(metaindex, footer.metaindex, findings)) {
    others.push(block);
    if (block.name === FILTER_PREFIX + BLOOM_POLICY) {
      filter = await readFilter(block, await read(block, footer.metaindex.offset), findings);
    } else {
      findings.warning(
        'LEVELDB_TABLE_META',
        footer.metaindex.offset,
        `the content of "${block.name}" is not known here`,
      );
    }
  }
  const index = await read(others[1]!, footerAt);
  const isComplete = index !== undefined && metaindex !== undefined;
  return { index, filter, isComplete, others: others.sort((a, b) => a.offset - b.offset) };
}

/** `limit`: where blocks end. `handleAt`: the block whose bytes say where this one stands. */
async function readBlock(
  file: OpenFile,
  block: NamedBlock,
  { limit, handleAt }: { limit: number; handleAt: number },
  findings: Findings,
): Promise<Buffer | undefined> {
  const { name, offset, sizeBytes } = block;
  if (offset + sizeBytes + TRAILER_BYTES > limit) {
    findings.error('LEVELDB_TABLE_HANDLE', handleAt, `the ${name} block goes beyond the file`);
    return undefined;
  }
  const sealed = await readExactly(file, offset, sizeBytes + TRAILER_BYTES);
  // The pass over the whole file reads these bytes again and reports a wrong checksum.
  if (checkSeal(sealed).broken !== undefined) return undefined;
  return contentOf(sealed, offset, name, findings);
}

/** The content of a block whose checksum holds. Reports why there is none. */
export function contentOf(
  sealed: Buffer,
  offset: number,
  name: string,
  findings: Findings,
): Buffer | undefined {
  const unpacked = unpackBlock(sealed);
  if ('content' in unpacked) return unpacked.content;
  if ('problem' in unpacked) {
    findings.error('LEVELDB_BLOCK_CONTENT', offset, `${name} block: ${unpacked.problem}`);
  } else {
    findings.unread('LEVELDB_BLOCK_UNREAD', offset, `${name} block: ${unpacked.unread}`);
  }
  return undefined;
}

function namedBlocks(metaindex: Buffer, { offset }: BlockHandle, findings: Findings): NamedBlock[] {
  const blocks = new Map<string, NamedBlock>();
  const cursor = new BlockCursor(metaindex);
  while (cursor.next()) {
    const name = cursor.copyKey().toString('latin1');
    const handle = decodeHandle(cursor.value());
    if (handle === undefined) {
      findings.error('LEVELDB_TABLE_HANDLE', offset, `the place of "${name}" is unreadable`);
    } else if (blocks.has(name)) {
      findings.error('LEVELDB_TABLE_HANDLE', offset, `"${name}" is there twice`);
    } else blocks.set(name, { name, offset: handle.offset, sizeBytes: handle.sizeBytes });
  }
  if (cursor.problem !== undefined) {
    findings.error('LEVELDB_BLOCK_CONTENT', offset, `metaindex block: ${cursor.problem}`);
  }
  return [...blocks.values()];
}

async function readFilter(
  { offset }: NamedBlock,
  content: Buffer | undefined,
  findings: Findings,
): Promise<FilterBlock | undefined> {
  if (content === undefined) return undefined;
  const filter = FilterBlock.decode(content);
  if (typeof filter !== 'string') return filter;
  findings.error('LEVELDB_TABLE_FILTER', offset, filter);
  return undefined;
}
