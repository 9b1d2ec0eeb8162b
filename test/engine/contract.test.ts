import { ClassicLevel } from 'classic-level';
import { test } from 'vitest';
import { filesEngine } from '../../src/engine/files/index.ts';
import { createLeveldbEngine } from '../../src/engine/leveldb/create-engine.ts';
import { leveldbEngine } from '../../src/engine/leveldb/index.ts';
import { lsmEngine } from '../../src/engine/lsm/index.ts';
import { openLsm } from '../../src/lsm-database/database.ts';
import { testEngine } from '../../src/testing/index.ts';
import { openCountedFiles, readCountedFiles } from '../support/counted-files.ts';

// The suite that whoever writes an engine runs, on those that come with the package.

const keyOf = (n: number) => `write-${String(n).padStart(8, '0')}`;
const numberOf = (key: string) => Number(key.slice('write-'.length));
const contentOf = (n: number) => String(n).repeat(40);

testEngine({
  test,
  engine: filesEngine,
  createDatabase: openCountedFiles,
  readCopy: readCountedFiles,
  writes: 40,
  supports: { detect: false, planUnderWrites: false, isCovered: () => false, isMissed: () => false },
});

const levelOptions = { writeBufferSize: 64 * 1024 };

testEngine({
  test,
  engine: leveldbEngine,
  async createDatabase(dir) {
    const database = new ClassicLevel<string, string>(dir, levelOptions);
    await database.open();
    const engine = createLeveldbEngine({ database });
    return {
      engine,
      write: (n) => database.put(keyOf(n), contentOf(n)),
      async close() {
        engine.detach();
        await database.close();
      },
    };
  },
  async readCopy(dir) {
    const database = new ClassicLevel<string, string>(dir, { createIfMissing: false });
    await database.open();
    try {
      return (await database.keys().all()).map(numberOf);
    } finally {
      await database.close();
    }
  },
  writes: 1000,
  supports: {
    // The MANIFEST names the oldest log that is needed; that a newer one began is not written anywhere.
    isMissed: (path, paths) => !path.endsWith('.log') || path === paths.find((name) => name.endsWith('.log')),
  },
});

const walGeometry = { segmentBytes: 64 * 1024, segmentCount: 4 };

function isLive(bytes: Uint8Array, offset: number): boolean {
  const { segmentBytes } = walGeometry;
  const isHeader = offset < 16 || (offset - 16) % segmentBytes < 28;
  if (isHeader) return true;
  const view = Buffer.from(bytes);
  const start = Number(view.readBigUInt64LE(0));
  const end = view.readBigUInt64LE(8);
  const dataBytes = segmentBytes - 28;
  const logical =
    Math.floor((offset - 16) / segmentBytes) * dataBytes + (((offset - 16) % segmentBytes) - 28);
  const isFull = end >> 63n === 1n;
  const stop = Number(end & ((1n << 63n) - 1n));
  return isFull || (start <= stop ? logical >= start && logical < stop : logical >= start || logical < stop);
}

testEngine({
  test,
  engine: lsmEngine,
  async createDatabase(dir) {
    const database = await openLsm(dir, {
      walGeometry,
      memtableBytes: 32 * 1024,
      compactAtTables: 3,
    });
    return {
      write: async (n) => {
        await database.put(Buffer.from(keyOf(n)), Buffer.from(contentOf(n)));
      },
      close: () => database.close(),
    };
  },
  async readCopy(dir) {
    const database = await openLsm(dir, { createIfMissing: false });
    try {
      const numbers: number[] = [];
      for await (const [key] of database.iterate()) numbers.push(numberOf(key.toString()));
      return numbers;
    } finally {
      await database.close();
    }
  },
  writes: 400,
  supports: {
    // Behind the end of the log in its ring stands what nobody reads.
    isCovered: (path, offset, bytes) => path !== 'lsm.wal' || isLive(bytes, offset),
    // The format has no list of tables, and a log without a checkpoint is replayed from its start.
    isMissed: (path) => path === 'lsm.wal',
  },
});
