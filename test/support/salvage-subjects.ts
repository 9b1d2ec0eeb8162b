import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { findingsOf as leveldbFindings } from '../../src/engine/leveldb/findings.ts';
import { readVersion } from '../../src/engine/leveldb/read-version.ts';
import { contentOf, readTableFrame } from '../../src/engine/leveldb/table-frame.ts';
import { layoutOf } from '../../src/engine/leveldb/table-layout.ts';
import { findingsOf as lsmFindings } from '../../src/engine/lsm/findings.ts';
import { readFrame, readIndex } from '../../src/engine/lsm/table-frame.ts';
import { withFile } from '../../src/env/io.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { decodeBatchHeader, scanBatch } from '../../src/format/leveldb/batch.ts';
import { BlockCursor } from '../../src/format/leveldb/block.ts';
import { decodeInternalKey, TYPE_VALUE } from '../../src/format/leveldb/internal-key.ts';
import { LogDecoder } from '../../src/format/leveldb/log.ts';
import { decodeCheckpoint } from '../../src/format/lsm/checkpoint.ts';
import { EntryCursor } from '../../src/format/lsm/table-block.ts';
import {
  decodeSectionHeader,
  liveBytes,
  ringBytes,
  ringExtents,
  SECTION_HEADER_BYTES,
} from '../../src/format/lsm/wal.ts';
import { WalReplay } from '../../src/format/lsm/wal-replay.ts';
import { openLsm } from '../../src/index.ts';

/** One stretch of a file under checksums of its own: while its bytes are unchanged, what is in it can be read. */
export interface Piece {
  readonly path: string;
  readonly stretches: readonly (readonly [from: number, to: number])[];
  readonly versions: readonly Version[];
}

interface Version {
  readonly key: string;
  /** Undefined: deleted. */
  readonly value: string | undefined;
  readonly version: bigint;
}

export interface Writer {
  put(key: string, value: string): Promise<unknown>;
  del(key: string): Promise<unknown>;
  close(): Promise<unknown>;
}

/** What the tests of salvage need of an engine. */
export interface Engine {
  readonly name: 'leveldb' | 'lsm';
  create(dir: string, seed: number): Promise<Writer>;
  contentOf(dir: string): Promise<Map<string, string>>;
  /** Of a whole database. */
  piecesOf(dir: string): Promise<Piece[]>;
  /** Whether all that a table says is in others, too. */
  isSpare(dir: string, path: string): Promise<boolean>;
  /** A file that nothing else of the database tells of. */
  isUntold(path: string): boolean;
}

export const filesOf = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((name) => !/(^|\/)(LOCK|LOG(\.old)?|lsm\.alopex\.lock)$/.test(name))
    .filter((name) => statSync(join(dir, name)).isFile());

const leveldb: Engine = {
  name: 'leveldb',
  async create(dir, seed) {
    const database = new ClassicLevel(dir, { compression: seed % 2 === 0, writeBufferSize: 64 * 1024 });
    await database.open();
    return database;
  },
  async contentOf(dir) {
    const database = new ClassicLevel(dir, { createIfMissing: false });
    await database.open();
    const rows = new Map<string, string>();
    for await (const [key, value] of database.iterator()) rows.set(key, value);
    await database.close();
    return rows;
  },
  async piecesOf(dir) {
    const pieces: Piece[] = [];
    for (const path of filesOf(dir)) {
      if (path.endsWith('.ldb')) pieces.push(...(await leveldbBlocks(dir, path)));
      if (path.endsWith('.log')) pieces.push(...leveldbRecords(readFileSync(join(dir, path)), path));
    }
    return pieces;
  },
  async isSpare(dir, path) {
    if (!path.endsWith('.ldb')) return false;
    const manifest = join(dir, readFileSync(join(dir, 'CURRENT'), 'latin1').trim());
    const version = await withFile(nodeFileSystem, manifest, 'read', (file) =>
      readVersion(file, new RunControl()),
    );
    if (typeof version === 'string') throw new Error(version);
    return !version.tables.some(({ number }) => number === Number.parseInt(path, 10));
  },
  isUntold: () => false,
};

const leveldbBlocks = (dir: string, path: string): Promise<Piece[]> =>
  withFile(nodeFileSystem, join(dir, path), 'read', async (file) => {
    const { sizeBytes } = await file.stat();
    const findings = leveldbFindings(path);
    const frame = await readTableFrame(file, sizeBytes, findings);
    if (frame === undefined) return []; // a compaction that closing cut off
    const bytes = readFileSync(join(dir, path));
    return [...layoutOf(frame, sizeBytes, findings, findings)].flatMap(({ name, offset, length, bounds }) => {
      if (bounds === undefined) return [];
      const content = contentOf(bytes.subarray(offset, offset + length), offset, name, findings)!;
      const versions: Version[] = [];
      const cursor = new BlockCursor(content);
      while (cursor.next()) {
        const { userKey, sequence, type } = decodeInternalKey(cursor.copyKey())!;
        const value = type === TYPE_VALUE ? Buffer.from(cursor.value()).toString() : undefined;
        versions.push({ key: userKey.toString(), value, version: sequence });
      }
      return [{ path, stretches: [[offset, offset + length]] as const, versions }];
    });
  });

const LOG_BLOCK_BYTES = 32 * 1024;

function leveldbRecords(bytes: Buffer, path: string): Piece[] {
  const pieces: Piece[] = [];
  for (const item of new LogDecoder().push(
    Buffer.concat([bytes, Buffer.alloc(LOG_BLOCK_BYTES - (bytes.length % LOG_BLOCK_BYTES))]),
  )) {
    if (item.kind !== 'record') continue;
    let version = decodeBatchHeader(item.payload)!.sequence;
    const versions: Version[] = [];
    scanBatch(item.payload, (operation) => {
      const value = operation.type === 'put' ? Buffer.from(operation.value).toString() : undefined;
      versions.push({ key: Buffer.from(operation.key).toString(), value, version: version++ });
    });
    // Behind damage a reader goes on with the next block of the log.
    const from = Math.floor(item.offset / LOG_BLOCK_BYTES) * LOG_BLOCK_BYTES;
    const to = Math.min(bytes.length, Math.ceil(item.end / LOG_BLOCK_BYTES) * LOG_BLOCK_BYTES);
    pieces.push({ path, stretches: [[from, to]], versions });
  }
  return pieces;
}

const GEOMETRY = { segmentBytes: 64 * 1024, segmentCount: 4 };

const lsm: Engine = {
  name: 'lsm',
  async create(dir) {
    const database = await openLsm(dir, { walGeometry: GEOMETRY, memtableBytes: 64 * 1024 });
    return {
      put: (key, value) => database.put(key, value),
      del: (key) => database.delete(key),
      close: () => database.close(),
    };
  },
  async contentOf(dir) {
    const database = await openLsm(dir, { createIfMissing: false });
    const rows = new Map<string, string>();
    for await (const [key, value] of database.iterate()) rows.set(key.toString(), value.toString());
    await database.close();
    return rows;
  },
  async piecesOf(dir) {
    const pieces: Piece[] = [];
    for (const path of filesOf(dir)) {
      if (path.endsWith('.sst')) pieces.push(...(await lsmBlocks(dir, path)));
    }
    return [...pieces, ...lsmEntries(dir)];
  },
  isSpare: async () => false,
  isUntold: (path) => path.endsWith('.sst'),
};

const lsmBlocks = (dir: string, path: string): Promise<Piece[]> =>
  withFile(nodeFileSystem, join(dir, path), 'read', async (file) => {
    const findings = lsmFindings(path);
    const frame = (await readFrame(file, (await file.stat()).sizeBytes, findings))!;
    const bytes = readFileSync(join(dir, path));
    return readIndex(frame, findings)!.map(({ offset, sizeBytes }) => {
      const versions: Version[] = [];
      const cursor = new EntryCursor().begin(bytes.subarray(offset, offset + sizeBytes), offset);
      while (cursor.next()) {
        const { timestampHigh: high, timestampLow: low } = cursor;
        const value = cursor.isPut ? cursor.bytes.subarray(cursor.valueAt, cursor.end).toString() : undefined;
        versions.push({
          key: cursor.key().toString(),
          value,
          version: (BigInt(high) << 32n) | BigInt(low),
        });
      }
      return { path, stretches: [[offset, offset + sizeBytes]] as const, versions };
    });
  });

function lsmEntries(dir: string): Piece[] {
  const path = 'lsm.wal';
  const bytes = readFileSync(join(dir, path));
  const checkpoint = decodeCheckpoint(readFileSync(join(dir, 'checkpoint.meta'))).checkpoint!.lsn;
  const header = decodeSectionHeader(bytes.subarray(0, SECTION_HEADER_BYTES));
  const [live, ring] = [liveBytes(GEOMETRY, header), ringBytes(GEOMETRY)];
  const replay = new WalReplay({ start: header.start, liveBytes: live, ringBytes: ring });
  const pieces: Piece[] = [];
  for (const { offset, length } of ringExtents(GEOMETRY, header.start, live)) {
    for (const entry of replay.push(bytes.subarray(offset, offset + length))) {
      if (entry.lsn <= checkpoint) continue;
      const versions = entry.ops().map((op) => ({
        key: Buffer.from(op.key).toString(),
        value: op.type === 'put' ? Buffer.from(op.value).toString() : undefined,
        version: entry.lsn,
      }));
      const stretches = ringExtents(GEOMETRY, entry.offset, entry.length).map(
        (extent) => [extent.offset, extent.offset + extent.length] as const,
      );
      pieces.push({ path, stretches, versions });
    }
  }
  return pieces;
}

export const ENGINES: readonly Engine[] = [leveldb, lsm];

/** What the pieces that are byte for byte as they were say together. */
export function stateOf(
  pieces: readonly Piece[],
  isUnchanged: (path: string, from: number, to: number) => boolean,
): Map<string, string> {
  const newest = new Map<string, Version>();
  for (const { path, stretches, versions } of pieces) {
    if (!stretches.every(([from, to]) => isUnchanged(path, from, to))) continue;
    for (const version of versions) {
      const known = newest.get(version.key);
      if (known === undefined || known.version < version.version) newest.set(version.key, version);
    }
  }
  return new Map(
    [...newest.values()].flatMap(({ key, value }) => (value === undefined ? [] : [[key, value]])),
  );
}
