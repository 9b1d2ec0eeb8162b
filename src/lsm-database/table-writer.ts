import { join } from 'node:path';
import { TABLES, tablePath } from '../engine/lsm/names.ts';
import type { FileSystem, OpenFile } from '../env/file-system.ts';
import { removeIfPresent, withFile, writeFully } from '../env/io.ts';
import { TABLE_HEADER_BYTES } from '../format/lsm/table.ts';
import type { TableEntry } from '../format/lsm/table-block.ts';
import { TableBuilder } from '../format/lsm/table-builder.ts';

/** Blocks are gathered up to this before they are written, and between two writes the event loop has its turn. */
const CHUNK_BYTES = 256 * 1024;

const TEMPORARY_TABLE = /^\.[0-9]+\.sst\.tmp$/;

/** Whether a file in the folder of tables is one that a crash left half written. */
export const isTemporaryTable = (name: string): boolean => TEMPORARY_TABLE.test(name);

/**
 * Writes a table from entries in order and makes it durable, its name last. Resolves to false, and leaves nothing, when there
 * are no entries. A failure leaves at most the temporary file.
 * @param onChunk Called before each write; throws to give up.
 */
export async function writeTable(
  fs: FileSystem,
  dir: string,
  id: bigint,
  entries: Iterable<TableEntry> | AsyncIterable<TableEntry>,
  onChunk: () => void = () => {},
): Promise<boolean> {
  const folder = join(dir, TABLES);
  const temporary = join(folder, `.${id}.sst.tmp`);
  await removeIfPresent(fs, temporary);
  const isEmpty = await withFile(fs, temporary, 'create', async (file) => {
    const count = await writeEntries(file, entries, onChunk);
    if (count > 0) await file.sync();
    return count === 0;
  });
  if (isEmpty) {
    await fs.removeFile(temporary);
    return false;
  }
  await fs.rename(temporary, join(dir, tablePath(id)));
  await fs.syncFolder(folder);
  return true;
}

async function writeEntries(
  file: OpenFile,
  entries: Iterable<TableEntry> | AsyncIterable<TableEntry>,
  onChunk: () => void,
): Promise<number> {
  const builder = new TableBuilder();
  let position = TABLE_HEADER_BYTES;
  let blocks: Buffer[] = [];
  let gathered = 0;
  const flush = async (): Promise<void> => {
    onChunk();
    await writeFully(file, blocks.length === 1 ? blocks[0]! : Buffer.concat(blocks, gathered), position);
    position += gathered;
    blocks = [];
    gathered = 0;
  };
  const gather = (bytes: Buffer): void => {
    blocks.push(bytes);
    gathered += bytes.byteLength;
  };
  for await (const entry of entries) {
    const block = builder.add(entry);
    if (block === undefined) continue;
    gather(block);
    if (gathered >= CHUNK_BYTES) await flush();
  }
  const { tail, header, entryCount } = builder.finish();
  gather(tail);
  await flush();
  await writeFully(file, header, 0);
  return entryCount;
}
