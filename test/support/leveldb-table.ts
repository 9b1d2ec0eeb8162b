import { BLOOM_POLICY } from '../../src/format/leveldb/filter.ts';
import {
  type BlockHandle,
  encodeFooter,
  encodeHandle,
  TRAILER_BYTES,
} from '../../src/format/leveldb/table.ts';
import {
  encodeBlock,
  encodeBloom,
  encodeFilterBlock,
  encodeInternalKey,
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
    const handle = put(sealBlock(content));
    meta.push({
      key: Buffer.from(`filter.${craft.filterName ?? BLOOM_POLICY}`),
      value: encodeHandle(handle),
    });
  }
  const footer = {
    metaindex: put(sealBlock(encodeBlock(meta))),
    index: put(sealBlock(encodeBlock(index, 1))),
  };
  return Buffer.concat([...parts, encodeFooter(footer)]);
}
