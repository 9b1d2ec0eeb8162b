import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32c, maskCrc } from '../../src/format/crc32c.ts';
import { encodeCurrent } from '../../src/format/leveldb/file-name.ts';
import { BLOOM_POLICY } from '../../src/format/leveldb/filter.ts';
import { BYTEWISE_COMPARATOR } from '../../src/format/leveldb/internal-key.ts';
import {
  type BlockHandle,
  encodeFooter,
  encodeHandle,
  TRAILER_BYTES,
} from '../../src/format/leveldb/table.ts';
import type { VersionEdit } from '../../src/format/leveldb/version-edit.ts';
import {
  encodeBatch,
  encodeBlock,
  encodeBloom,
  encodeFilterBlock,
  encodeInternalKey,
  encodeLog,
  encodeVersionEdit,
  sealBlock,
} from './leveldb-encoders.ts';

export interface CraftedEntry {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** What a test may put in the place of the honest parts of a table. All checksums hold. */
export interface Craft {
  /** Entries of the data blocks. */
  readonly blocks: readonly (readonly CraftedEntry[])[];
  /** Bytes on disk of a data block, with trailer. */
  readonly seal?: (content: Buffer, index: number) => Buffer;
  /** The same of all other blocks; default: not compressed. */
  readonly sealOther?: (content: Buffer) => Buffer;
  /** Content of the metaindex block; default: what `meta` and the filter say. */
  readonly metaindex?: Buffer;
  /** Key of each block's index entry; default: the block's last key. */
  readonly indexKey?: (index: number) => Buffer;
  readonly indexHandle?: (handle: BlockHandle, index: number) => BlockHandle;
  /** User keys that the filter knows; default: all. Null: no filter. */
  readonly filterKeys?: readonly Buffer[] | null;
  readonly filterBlock?: Buffer;
  readonly filterName?: string;
  /** Bytes between the last data block and what follows. */
  readonly gap?: number;
  /** Further entries of the metaindex. */
  readonly meta?: readonly { readonly key: Buffer; readonly value: Buffer }[];
}

export const entry = (key: string, sequence: number, type = 1, value = 'value'): CraftedEntry => ({
  key: encodeInternalKey(Buffer.from(key), BigInt(sequence), type),
  value: Buffer.from(value),
});

/** A table, built as LevelDB would, except where the craft says otherwise. */
export function craftTable(craft: Craft): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  const put = (sealed: Buffer): BlockHandle => {
    const handle = { offset: at, sizeBytes: sealed.length - TRAILER_BYTES };
    parts.push(sealed);
    at += sealed.length;
    return handle;
  };
  const sealOther = craft.sealOther ?? ((content: Buffer) => sealBlock(content));
  const { seal = (content: Buffer) => sealBlock(content), indexHandle = (handle: BlockHandle) => handle } =
    craft;
  const index = craft.blocks.map((entries, number) => {
    const handle = put(seal(encodeBlock(entries), number));
    const key = craft.indexKey?.(number) ?? entries.at(-1)?.key ?? Buffer.alloc(8);
    return { key, value: encodeHandle(indexHandle(handle, number)) };
  });
  if (craft.gap !== undefined) {
    parts.push(Buffer.alloc(craft.gap));
    at += craft.gap;
  }
  const meta = [...(craft.meta ?? [])];
  if (craft.filterKeys !== null) {
    const keys = craft.filterKeys ?? craft.blocks.flat().map(({ key }) => key.subarray(0, -8));
    const content = craft.filterBlock ?? encodeFilterBlock([encodeBloom(keys)]);
    const handle = put(sealOther(content));
    meta.push({
      key: Buffer.from(`filter.${craft.filterName ?? BLOOM_POLICY}`),
      value: encodeHandle(handle),
    });
  }
  const footer = {
    metaindex: put(sealOther(craft.metaindex ?? encodeBlock(meta))),
    index: put(sealOther(encodeBlock(index, 1))),
  };
  return Buffer.concat([...parts, encodeFooter(footer)]);
}

/** A block sealed with a compression byte of the test's own. */
export function resealAs(content: Buffer, compression: number): Buffer {
  const sealed = Buffer.from(sealBlock(content));
  sealed[content.length] = compression;
  sealed.writeUInt32LE(maskCrc(crc32c(sealed.subarray(0, content.length + 1))), content.length + 1);
  return sealed;
}

export interface CraftedFolder {
  readonly table: Craft;
  readonly edit?: Partial<VersionEdit>;
  readonly log?: Buffer;
}

/** A database of one table, `000004.ldb`, and a log. */
export async function writeCraftedFolder(
  dir: string,
  { table, edit = {}, log }: CraftedFolder,
): Promise<void> {
  const bytes = craftTable(table);
  const entries = table.blocks.flat();
  const manifest = encodeVersionEdit({
    comparator: BYTEWISE_COMPARATOR,
    logNumber: 3,
    nextFile: 10,
    lastSequence: 5n,
    newFiles: [
      {
        level: 1,
        number: 4,
        sizeBytes: bytes.length,
        smallest: entries[0]!.key,
        largest: entries.at(-1)!.key,
      },
    ],
    ...edit,
  });
  await writeFile(join(dir, '000004.ldb'), bytes);
  await writeFile(join(dir, '000003.log'), log ?? encodeLog([encodeBatch(6n, [])]));
  await writeFile(join(dir, 'MANIFEST-000002'), encodeLog([manifest]));
  await writeFile(join(dir, 'CURRENT'), encodeCurrent('MANIFEST-000002'));
}
