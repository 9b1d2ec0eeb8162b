import { vi } from 'vitest';
import type { EngineName, FileCheck } from '../../src/engine/engine.ts';
import { engineByName } from '../../src/engine/index.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { BlockCursor } from '../../src/format/leveldb/block.ts';
import type { TableEntry } from '../../src/format/lsm/table-block.ts';
import type { Below } from '../fuzz/mutate.ts';
import { fixLeveldbTable, fixLsmTable } from './fix-checksums.ts';
import { sealBlock } from './leveldb-encoders.ts';
import { type Craft, craftTable, entry as leveldbEntry } from './leveldb-table.ts';
import { buildTable, entry as lsmEntry } from './lsm-table.ts';
import { MemoryFile } from './memory-file.ts';

export type Check = (engine: EngineName, path: string, bytes: Buffer) => Promise<FileCheck>;

export const check: Check = (engine, path, bytes) =>
  engineByName(engine).checkFile(
    new MemoryFile(bytes),
    { path, level: 'full', live: false },
    new RunControl(),
  );

/** The same by the same sources, where nothing can be compiled. */
export async function scriptCheck(): Promise<Check> {
  vi.resetModules();
  const { engineByName: engineInScript } = await import('../../src/engine/index.ts');
  return async (engine, path, bytes) => {
    vi.stubGlobal('WebAssembly', undefined);
    try {
      const request = { path, level: 'full', live: false } as const;
      return await engineInScript(engine).checkFile(new MemoryFile(bytes), request, new RunControl());
    } finally {
      vi.unstubAllGlobals();
    }
  };
}

/** Numbers that a length, an offset or a count may become. */
export const NUMBERS = ['00', '01', 'ff', '7f', '80', '04000000', 'ffffffff'].map((hex) =>
  Buffer.from(hex, 'hex'),
);

/** Two neighbours the other way round, or one of them twice: what is right in every checksum, filter and index. */
function disordered<T>(entries: readonly T[], below: Below): T[] {
  const at = below(Math.max(entries.length - 1, 1));
  const pair = entries.slice(at, at + 2);
  const change = below(2) === 0 ? pair.reverse() : [...pair, pair.at(-1)!];
  return [...entries.slice(0, at), ...change, ...entries.slice(at + 2)];
}

/** The end of a block's content: entries | restarts | their number. */
function withOtherEnd(content: Buffer, below: Below): Buffer {
  const restarts = content.readUInt32LE(content.length - 4);
  const entriesEnd = content.length - 4 - 4 * restarts;
  const changed = Buffer.from(content);
  const restartAt = entriesEnd + 4 * below(restarts);
  switch (below(5)) {
    case 0:
      changed.writeUInt32LE(below(entriesEnd), restartAt);
      return changed;
    case 4: {
      const offsets: number[] = [];
      const cursor = new BlockCursor(content);
      while (cursor.next()) offsets.push(cursor.offset);
      const further = content.subarray(entriesEnd + 4 * restarts);
      further.writeUInt32LE(restarts + 1);
      const restart = Buffer.alloc(4);
      restart.writeUInt32LE(offsets[below(offsets.length)]!);
      return Buffer.concat([content.subarray(0, content.length - 4), restart, further]);
    }
    case 1:
      changed.writeUInt32LE(below(restarts + 3), content.length - 4);
      return changed;
    case 2:
      changed.writeUInt32LE(below(3), restartAt);
      return changed;
    default: {
      const more = Buffer.from([below(3), below(9), below(3)].slice(0, 1 + below(3)));
      return Buffer.concat([content.subarray(0, entriesEnd), more, content.subarray(entriesEnd)]);
    }
  }
}

const text = (below: Below): string => Array.from({ length: below(30) }, () => 'abc'[below(3)]).join('');

/** Keys that share beginnings, in several versions, with values of all sizes, in blocks of any number of entries. */
function sortedKeys(below: Below): string[] {
  const keys = Array.from({ length: 1 + below(40) }, () => `${text(below)}${below(50)}`);
  return [...new Set(keys)].sort();
}

function blocksOf<T>(entries: readonly T[], below: Below): T[][] {
  const blocks: T[][] = [];
  for (let at = 0; at < entries.length; ) {
    const count = 1 + below(below(2) === 0 ? 6 : 60);
    blocks.push(entries.slice(at, at + count));
    at += count;
  }
  return blocks;
}

const value = (below: Below): string => 'v'.repeat(below(8) === 0 ? below(5000) : below(40));

/** Numbers of all sizes: a u64 has two halves. */
function lsmVersion(key: string, version: number, below: Below): TableEntry {
  const base = [1000n, 2n ** 32n + 1000n, 2n ** 63n + 1000n][below(20) === 0 ? below(3) : 0]!;
  const plain = lsmEntry(key, 0, below(6) === 0 ? undefined : value(below));
  return version === 0
    ? { ...plain, timestamp: below(2) === 0 ? 2000n : 2n ** 63n + 1n, sequence: base }
    : { ...plain, timestamp: 1000n - BigInt(version * 10 + below(5)), sequence: base };
}

export const TABLES = {
  lsm: {
    path: 'sst/1.sst',
    fix: fixLsmTable,
    make(below: Below, isHonest: boolean): Buffer {
      const entries = sortedKeys(below).flatMap((key) =>
        Array.from({ length: 1 + below(3) }, (_, version) => lsmVersion(key, version, below)),
      );
      return buildTable(blocksOf(isHonest ? entries : disordered(entries, below), below));
    },
  },
  leveldb: {
    path: '000005.ldb',
    fix: fixLeveldbTable,
    make(below: Below, isHonest: boolean): Buffer {
      const entries = sortedKeys(below).flatMap((key) =>
        Array.from({ length: 1 + below(3) }, (_, version) =>
          leveldbEntry(key, 1000 - version * 10 - below(5), below(6) === 0 ? 0 : 1, value(below)),
        ),
      );
      const craft: Craft = { blocks: [], ...(below(4) === 0 && { filterKeys: null }) };
      const packed = { seal: (content: Buffer) => sealBlock(content, below(3) === 0 ? 'none' : 'snappy') };
      if (isHonest) return craftTable({ ...craft, ...packed, blocks: blocksOf(entries, below) });
      if (below(2) === 0)
        return craftTable({ ...craft, blocks: blocksOf(disordered(entries, below), below) });
      const seal = (content: Buffer) => sealBlock(below(2) === 0 ? withOtherEnd(content, below) : content);
      return craftTable({ ...craft, blocks: blocksOf(entries, below), seal });
    },
  },
} as const;
