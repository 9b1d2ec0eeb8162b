import { open, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lsmEngine } from '../../src/engine/lsm/index.ts';
import { blockUse } from '../../src/env/block-use.ts';
import { withFile } from '../../src/env/io.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { crc32, crc32OfZerosAfter } from '../../src/format/crc32.ts';
import {
  DEFAULT_GEOMETRY,
  encodeSectionHeader,
  encodeSegmentHeader,
  physicalOffset,
  ringBytes,
  ringExtents,
  SECTION_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  segmentHeaderOffset,
  type WalGeometry,
  walFileBytes,
} from '../../src/format/lsm/wal.ts';
import { encodeEntry } from '../../src/format/lsm/wal-entry.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { temporaryFolder } from '../support/temp.ts';

const check = (file: MemoryFile, live = false) =>
  lsmEngine.checkFile(file, { path: 'lsm.wal', level: 'full', live }, new RunControl());

const put = (lsn: number, valueBytes: number) =>
  encodeEntry(
    BigInt(lsn),
    [{ type: 'put', key: Buffer.from(`k${lsn}`), value: Buffer.alloc(valueBytes, lsn) }],
    'batch',
  );

function buildLog(geometry: WalGeometry, start: number, entries: readonly Buffer[]): Buffer {
  const log = Buffer.alloc(walFileBytes(geometry));
  for (let i = 0; i < geometry.segmentCount; i++)
    encodeSegmentHeader(BigInt(i + 1), 0n).copy(log, segmentHeaderOffset(geometry, i));
  const logical = Buffer.concat(entries);
  const ring = ringBytes(geometry);
  let done = 0;
  for (const { offset, length } of ringExtents(geometry, start, logical.byteLength)) {
    logical.copy(log, offset, done, done + length);
    done += length;
  }
  const end = (start + logical.byteLength) % ring;
  encodeSectionHeader({ start, end, full: logical.byteLength === ring }).copy(log, 0);
  return log;
}

describe('a log', () => {
  it('is replayed with entries larger than a segment and than the read buffer, across the end of the ring', async () => {
    const geometry = { segmentBytes: 1 << 20, segmentCount: 5 };
    const log = buildLog(geometry, 3_000_000, [put(1, 2_500_000), put(2, 10), put(3, 1_500_000)]);
    const { findings, counts, crc32: sum, sizeBytes } = await check(new MemoryFile(log));
    expect(findings).toEqual([]);
    expect(counts).toEqual({ walEntries: 3, walLastLsn: '3' });
    expect(sum).toBe(crc32(log));
    expect(sizeBytes).toBe(log.byteLength);
  });

  it('may be full to the last byte', async () => {
    const geometry = { segmentBytes: 128, segmentCount: 4 };
    const rest = ringBytes(geometry) - put(1, 100).byteLength;
    const last = put(2, rest - put(2, 0).byteLength - 1); // a value of 128 and more has a length of two bytes
    expect(put(1, 100).byteLength + last.byteLength).toBe(ringBytes(geometry));
    const log = buildLog(geometry, 77, [put(1, 100), last]);
    const result = await check(new MemoryFile(log));
    expect(result.findings).toEqual([]);
    expect(result.counts.walEntries).toBe(2);
    expect(result.crc32).toBe(crc32(log));
    // Without its mark the same log is empty: nothing but the manifest's checksum can tell.
    log[15]! ^= 0x80;
    expect((await check(new MemoryFile(log))).counts.walEntries).toBe(0);
  });

  it('that was torn is read again while its owner goes on writing', async () => {
    const geometry = { segmentBytes: 4096, segmentCount: 2 };
    const whole = buildLog(geometry, 0, [put(1, 10), put(2, 10)]);
    const torn = Buffer.from(whole);
    const last = 44 + put(1, 10).byteLength;
    torn[last + 16]! ^= 1;
    const file = new MemoryFile(torn);
    file.onRead = () => {
      if (file.reads !== 12) return;
      file.bytes = whole;
      file.mtimeNs++;
    };
    const healed = await check(file, true);
    expect(file.reads).toBeGreaterThan(12);
    expect(healed.findings).toEqual([]);
    expect(await check(new MemoryFile(torn), true)).toMatchObject({
      findings: [{ code: 'LSM_LOG_TORN', severity: 'warning', offset: last }],
    });
  });

  it('of a live directory is damaged, and no torn end, where a later commit follows, behind the end of the ring too', async () => {
    const geometry = { segmentBytes: 4096, segmentCount: 2 };
    for (const start of [0, ringBytes(geometry) - put(1, 10).byteLength - 20]) {
      const log = buildLog(geometry, start, [put(1, 10), put(2, 10), put(4, 10)]);
      const at = physicalOffset(geometry, start + put(1, 10).byteLength);
      log[at + 16]! ^= 1;
      expect(await check(new MemoryFile(log), true)).toMatchObject({
        findings: [
          {
            code: 'LSM_LOG_TORN',
            severity: 'error',
            offset: at,
            message: expect.stringMatching(/^the replay stops after 1 entry: .*, and later commits follow$/),
          },
        ],
      });
    }
  });

  it('of a live directory may be damaged and end anywhere', async () => {
    const geometry = { segmentBytes: 512, segmentCount: 2 };
    const log = buildLog(geometry, 500, [put(1, 10), put(2, 10), put(4, 10), put(6, 300)]);
    log[physicalOffset(geometry, 500) + 16]! ^= 1;
    for (let bytes = log.byteLength; bytes > 0; bytes--) {
      const { findings } = await check(new MemoryFile(log.subarray(0, bytes)), true);
      expect(findings.length, `${bytes} bytes`).toBeGreaterThan(0);
    }
  });

  it('of a live directory may be damaged, and be cut off at any moment', async () => {
    const geometry = { segmentBytes: 512, segmentCount: 2 };
    const log = buildLog(geometry, 300, [put(1, 10), put(2, 10), put(4, 10), put(6, 300)]);
    log[physicalOffset(geometry, 300) + 16]! ^= 1;
    const whole = new MemoryFile(log);
    expect((await check(whole, true)).findings).toMatchObject([{ code: 'LSM_LOG_TORN', severity: 'error' }]);
    for (let read = 1; read <= whole.reads; read++) {
      for (const bytes of [100, 360, 700]) {
        const file = new MemoryFile(log);
        file.onRead = () => {
          if (file.reads === read) file.bytes = log.subarray(0, bytes);
        };
        expect((await check(file, true)).findings.length, `cut at read ${read}`).toBeGreaterThan(0);
      }
    }
  });

  it('of the usual size, almost all hole, has the checksum of all its zeros', async () => {
    const small = buildLog({ segmentBytes: 1024, segmentCount: 1 }, 0, [put(7, 100)]);
    const path = join(await temporaryFolder(), 'lsm.wal');
    await writeFile(path, small.subarray(0, 500));
    await truncate(path, walFileBytes(DEFAULT_GEOMETRY));
    const file = await open(path, 'r+');
    let expected = crc32(small.subarray(0, 500));
    let at = 500;
    for (let i = 1; i < DEFAULT_GEOMETRY.segmentCount; i++) {
      const header = encodeSegmentHeader(BigInt(i + 1), 0n);
      const offset = segmentHeaderOffset(DEFAULT_GEOMETRY, i);
      await file.write(header, 0, header.byteLength, offset);
      expected = crc32(header, crc32OfZerosAfter(expected, offset - at));
      at = offset + header.byteLength;
    }
    await file.close();
    expected = crc32OfZerosAfter(expected, walFileBytes(DEFAULT_GEOMETRY) - at);
    const result = await withFile(nodeFileSystem, path, 'read', (opened) =>
      lsmEngine.checkFile(opened, { path: 'lsm.wal', level: 'full', live: false }, new RunControl()),
    );
    expect(result.findings).toEqual([]);
    expect(result.counts).toEqual({ walEntries: 1, walLastLsn: '7' });
    expect(result.crc32).toBe(expected);
    expect(result.sizeBytes).toBe(536_870_928);
  });
});

describe('the holes of a log on ext4', () => {
  const BLOCK = 4096;
  const GEOMETRY = { segmentBytes: 16 * BLOCK, segmentCount: 4 };

  /** A live range in the first segment, `gap` blocks before the second one's header; the other headers stand alone. */
  function logWithGap(gap: number): Buffer {
    const end = (16 - gap) * BLOCK;
    const live = put(1, 3 * BLOCK - 100);
    const start = end - live.byteLength - SECTION_HEADER_BYTES - SEGMENT_HEADER_BYTES;
    return buildLog(GEOMETRY, start, [live]);
  }

  /** As if so many blocks were allocated, those that describe where the others are among them. */
  function onDisk(log: Buffer, blocks: number): MemoryFile {
    const use = blockUse({ type: 0xef53, bsize: BLOCK }, blocks * BLOCK);
    return Object.assign(new MemoryFile(log), { blockUse: async () => use });
  }

  const dataBlocks = (log: Buffer): number => {
    let count = 0;
    for (let at = 0; at < log.byteLength; at += BLOCK)
      if (log.subarray(at, at + BLOCK).some((byte) => byte !== 0)) count++;
    return count;
  };

  it('are not read where a fifth stretch of data takes a block of its own to describe', async () => {
    const log = logWithGap(2);
    const file = onDisk(log, dataBlocks(log) + 1);
    expect(await check(file)).toMatchObject({ findings: [], crc32: crc32(log) });
    expect(file.bytesRead).toBeLessThan(log.byteLength / 2);
  });

  it('are read where one block between two stretches could join them', async () => {
    const log = logWithGap(1);
    log[15 * BLOCK + 100] = 7; // left from an earlier round: behind the live range, and four stretches with it
    const { findings, crc32: sum } = await check(onDisk(log, dataBlocks(log)));
    expect(findings).toEqual([]);
    expect(sum).toBe(crc32(log));
  });
});
