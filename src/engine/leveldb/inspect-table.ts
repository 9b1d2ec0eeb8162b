import type { OpenFile } from '../../env/file-system.ts';
import { readExactly } from '../../env/io.ts';
import { RunControl } from '../../env/worker-pool.ts';
import { BlockCursor } from '../../format/leveldb/block.ts';
import { decodeInternalKey, TYPE_DELETION } from '../../format/leveldb/internal-key.ts';
import { checkSeal } from '../../format/leveldb/table.ts';
import { type DescribedKey, describeKey } from '../lsm/describe.ts';
import { checkTable } from './check-table.ts';
import { Findings } from './findings.ts';
import { contentOf, readTableFrame } from './table-frame.ts';
import { layoutOf, type Region } from './table-layout.ts';

export interface TableDescription {
  readonly kind: 'table';
  readonly size_bytes: number;
  /** All blocks that are no data blocks. */
  readonly frame: readonly { readonly name: string; readonly offset: number; readonly size_bytes: number }[];
  readonly blocks_total: number;
  /** The first of them. */
  readonly blocks: readonly DescribedBlock[];
  /** The first of them, if they were asked for. */
  readonly entries?: readonly DescribedTableEntry[];
  readonly problems: readonly string[];
}

export interface DescribedBlock {
  readonly offset: number;
  /** In the file: compressed, with its trailer. */
  readonly size_bytes: number;
  readonly entries: number;
  readonly first_key: DescribedKey | null;
  readonly last_key: DescribedKey | null;
}

export interface DescribedTableEntry {
  readonly type: 'put' | 'delete';
  readonly sequence: string;
  readonly key: DescribedKey;
  readonly value_bytes: number;
}

export async function describeTable(
  file: OpenFile,
  limit: number,
  withEntries: boolean,
): Promise<TableDescription> {
  const { sizeBytes } = await file.stat();
  // All of the table is looked at, however little of it is listed; what is listed says nothing of its own.
  const check = await checkTable(file, { path: '', level: 'full', live: true }, new RunControl());
  const findings = new Findings('');
  const frame = await readTableFrame(file, sizeBytes, findings);
  const blocks: DescribedBlock[] = [];
  const entries: DescribedTableEntry[] = [];
  let total = 0;
  for (const region of frame === undefined ? [] : layoutOf(frame, sizeBytes, findings, findings)) {
    if (region.bounds === undefined) continue;
    if (total++ < limit)
      blocks.push(await describeBlock(file, region, findings, entries, withEntries ? limit : 0));
  }
  return {
    kind: 'table',
    size_bytes: sizeBytes,
    frame: (frame?.others ?? []).map(({ name, offset, sizeBytes: size_bytes }) => ({
      name,
      offset,
      size_bytes,
    })),
    blocks_total: total,
    blocks,
    ...(withEntries ? { entries } : {}),
    problems: check.findings.map(({ offset, message }) =>
      offset === null ? message : `at byte ${offset}: ${message}`,
    ),
  };
}

async function describeBlock(
  file: OpenFile,
  { name, offset, length }: Region,
  findings: Findings,
  entries: DescribedTableEntry[],
  limit: number,
): Promise<DescribedBlock> {
  const blank = { offset, size_bytes: length, entries: 0, first_key: null, last_key: null };
  const sealed = await readExactly(file, offset, length);
  const { broken } = checkSeal(sealed);
  if (broken !== undefined) return blank;
  const content = contentOf(sealed, offset, name, findings);
  if (content === undefined) return blank;
  const cursor = new BlockCursor(content);
  let count = 0;
  let first: DescribedKey | null = null;
  while (cursor.next()) {
    const key = decodeInternalKey(cursor.key.subarray(0, cursor.keyLength));
    if (key === undefined) continue;
    count++;
    first ??= describeKey(key.userKey);
    if (entries.length >= limit) continue;
    entries.push({
      type: key.type === TYPE_DELETION ? 'delete' : 'put',
      sequence: String(key.sequence),
      key: describeKey(key.userKey),
      value_bytes: cursor.valueEnd - cursor.valueStart,
    });
  }
  const last = decodeInternalKey(cursor.key.subarray(0, cursor.keyLength));
  return {
    ...blank,
    entries: count,
    first_key: first,
    last_key: last === undefined ? null : describeKey(last.userKey),
  };
}
