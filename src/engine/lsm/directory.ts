import { join } from 'node:path';
import type { FileStat, FileSystem, OpenFile } from '../../env/file-system.ts';
import { withFile } from '../../env/io.ts';
import { StillpointError, systemCode } from '../../errors.ts';
import { decodeCheckpoint } from '../../format/lsm/checkpoint.ts';
import {
  hasWalMagic,
  SECTION_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  WAL_MAGIC,
  type WalGeometry,
} from '../../format/lsm/wal.ts';
import { inferGeometry } from '../../format/lsm/wal-geometry.ts';
import { CHECKPOINT, LOG, TABLE_MAGIC, TABLES, tableId, tablePath } from './names.ts';
import { readUpTo } from './read.ts';

/** The engine reads 24 bytes and ignores what follows; more than this is no checkpoint file. */
const CHECKPOINT_LIMIT_BYTES = 64 * 1024;

/** What stands at a path: a regular file, or nothing. Anything else is `UNSUPPORTED_FILE`. */
export async function inspectRegular(fs: FileSystem, path: string): Promise<FileStat | undefined> {
  const stat = await fs.inspect(path);
  if (stat !== undefined && stat.kind !== 'file') {
    throw new StillpointError('UNSUPPORTED_FILE', `${path} is not a regular file`, { path });
  }
  return stat;
}

/** Ids of the tables, ascending; none when there is no folder for them. */
export async function listTables(fs: FileSystem, dir: string): Promise<bigint[]> {
  const folder = join(dir, TABLES);
  const stat = await fs.inspect(folder);
  if (stat === undefined) return [];
  if (stat.kind !== 'folder') {
    throw new StillpointError('UNSUPPORTED_FILE', `${folder} is not a folder`, { path: folder });
  }
  const ids: bigint[] = [];
  for (const { name, kind } of await fs.list(folder)) {
    const id = tableId(name);
    if (id === undefined) continue;
    const path = join(folder, name);
    if (kind !== 'file')
      throw new StillpointError('UNSUPPORTED_FILE', `${path} is not a regular file`, { path });
    ids.push(id);
  }
  return ids.sort((a, b) => (a < b ? -1 : 1));
}

/** The files of the database: checkpoint and log if they exist, and all tables. */
export async function listLsmFiles(fs: FileSystem, dir: string): Promise<string[]> {
  const files: string[] = [];
  for (const name of [CHECKPOINT, LOG]) {
    if ((await inspectRegular(fs, join(dir, name))) !== undefined) files.push(name);
  }
  return [...files, ...(await listTables(fs, dir)).map(tablePath)];
}

export interface CheckpointFile {
  readonly bytes: Buffer;
  readonly stat: FileStat;
}

/** `checkpoint.meta` with the inode that its bytes came from. Undefined when it does not exist. */
export async function readCheckpointFile(fs: FileSystem, dir: string): Promise<CheckpointFile | undefined> {
  const path = join(dir, CHECKPOINT);
  if ((await inspectRegular(fs, path)) === undefined) return undefined;
  try {
    return await withFile(fs, path, 'read', async (file) => {
      const stat = await file.stat();
      if (stat.sizeBytes > CHECKPOINT_LIMIT_BYTES) {
        throw new StillpointError(
          'UNSUPPORTED_FILE',
          `${path} has ${stat.sizeBytes} bytes and is no checkpoint`,
          { path },
        );
      }
      return { stat, bytes: await readUpTo(file, 0, stat.sizeBytes) };
    });
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined; // gone since the look at it
    throw error;
  }
}

/** Finds the log's geometry in the open file; undefined when no segment header holds. */
export async function inferLogGeometry(file: OpenFile, sizeBytes: number): Promise<WalGeometry | undefined> {
  return inferGeometry(sizeBytes, (offset) => readUpTo(file, offset, SEGMENT_HEADER_BYTES));
}

/** Whether a folder is an lsm database: by its log, else by a table, else by a checkpoint beside a folder for tables. */
export async function detectLsm(fs: FileSystem, dir: string): Promise<boolean> {
  const log = await fs.inspect(join(dir, LOG));
  if (log?.kind === 'file') {
    const isLog = await withFile(fs, join(dir, LOG), 'read', async (file) => {
      const magic = await readUpTo(file, SECTION_HEADER_BYTES, WAL_MAGIC.length);
      return hasWalMagic(magic) || (await inferLogGeometry(file, log.sizeBytes)) !== undefined;
    });
    if (isLog) return true;
  }
  const folder = await fs.inspect(join(dir, TABLES));
  if (folder?.kind !== 'folder') return false;
  for (const { name, kind } of await fs.list(join(dir, TABLES))) {
    if (kind !== 'file' || tableId(name) === undefined) continue;
    const magic = await withFile(fs, join(dir, TABLES, name), 'read', (file) =>
      readUpTo(file, 0, TABLE_MAGIC.length),
    );
    if (magic.toString('latin1') === TABLE_MAGIC) return true;
  }
  const meta = await fs.inspect(join(dir, CHECKPOINT));
  if (meta?.kind !== 'file') return false;
  const file = await readCheckpointFile(fs, dir);
  return file !== undefined && decodeCheckpoint(file.bytes).problem === undefined;
}
