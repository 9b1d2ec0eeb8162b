import { basename } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import { withFile } from '../../env/io.ts';
import { CHECKPOINT_BYTES, decodeCheckpoint } from '../../format/lsm/checkpoint.ts';
import { hasWalMagic, SECTION_HEADER_BYTES, WAL_MAGIC } from '../../format/lsm/wal.ts';
import { inferLogGeometry, inspectRegular } from './directory.ts';
import { describeLog, type LogDescription } from './inspect-log.ts';
import { describeTable, type TableDescription } from './inspect-table.ts';
import { CHECKPOINT, LOG, TABLE_MAGIC, tableId } from './names.ts';
import { readUpTo } from './read.ts';

export interface InspectOptions {
  /** At most so many log entries, blocks, table entries and operations of one log entry are listed. Default: 1000. */
  readonly limit?: number;
  /** List the entries of a table, and not only its blocks. Default: false. */
  readonly entries?: boolean;
}

export type LsmFileDescription = LogDescription | TableDescription | CheckpointDescription;

export interface CheckpointDescription {
  readonly kind: 'checkpoint';
  /** Decimal u64, both; null when the file does not hold. */
  readonly lsn: string | null;
  readonly created_at_ms: string | null;
  readonly problems: readonly string[];
}

const DEFAULT_LIMIT = 1000;

/**
 * What a single file of the lsm engine holds, as plain JSON; a table is looked at from begin to end, however little
 * is listed. The kind shows in the content, else in the name. Values are given as lengths, u64 as decimal strings.
 * Damage is told under `problems`, and what can be read is shown all the same. Memory is bounded by `limit` and by
 * the largest entry. Undefined when it is no file of this engine.
 */
export async function inspectLsmFile(
  fs: FileSystem,
  path: string,
  options: InspectOptions = {},
): Promise<LsmFileDescription | undefined> {
  const { limit = DEFAULT_LIMIT, entries = false } = options;
  if ((await inspectRegular(fs, path)) === undefined) return undefined;
  const name = basename(path);
  return withFile(fs, path, 'read', async (file) => {
    const { sizeBytes } = await file.stat();
    const magic = (await readUpTo(file, 0, TABLE_MAGIC.length)).toString('latin1');
    if (magic === TABLE_MAGIC || tableId(name) !== undefined) {
      return describeTable(file, sizeBytes, limit, entries);
    }
    const checkpoint = decodeCheckpoint(await readUpTo(file, 0, CHECKPOINT_BYTES));
    if (checkpoint.problem === undefined || name === CHECKPOINT) return describeCheckpoint(checkpoint);
    const geometry = await inferLogGeometry(file, sizeBytes);
    const hasMagic = hasWalMagic(await readUpTo(file, SECTION_HEADER_BYTES, WAL_MAGIC.length));
    if (geometry === undefined && !hasMagic && name !== LOG) return undefined;
    return describeLog(file, sizeBytes, geometry, limit);
  });
}

function describeCheckpoint({
  checkpoint,
  problem,
}: ReturnType<typeof decodeCheckpoint>): CheckpointDescription {
  return {
    kind: 'checkpoint',
    lsn: checkpoint === undefined ? null : String(checkpoint.lsn),
    created_at_ms: checkpoint === undefined ? null : String(checkpoint.createdAtMs),
    problems: problem === undefined ? [] : [problem],
  };
}
