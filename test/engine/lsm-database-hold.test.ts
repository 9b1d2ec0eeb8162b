import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { FileSystem } from '../../src/env/file-system.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { openLsm } from '../../src/lsm-database/database.ts';
import { copyPlan, dumpLsm, proveLsm } from '../support/lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

const small = {
  walGeometry: { segmentBytes: 2048, segmentCount: 4 },
  memtableBytes: 3000,
  compactAtTables: 3,
};

describe('a hold', () => {
  it('keeps its state while commits, flushes and compactions go on', async () => {
    const [dir, into] = [await temporaryFolder(), await temporaryFolder()];
    const database = await openLsm(dir, {
      ...small,
      walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 },
    });
    for (let i = 0; i < 50; i++) await database.put(`k${i % 20}`, `${i}`.repeat(50));
    const expected = await dumpLsm(database);
    const hold = await database.hold();
    for (let i = 0; i < 50; i++) await database.put(`k${i % 25}`, `later ${i}`.repeat(20));
    await database.delete('k3');
    await database.checkpoint();
    await database.compact();
    expect(database.stats()).toMatchObject({ tables: 1, holds: 1 });
    expect(database.stats().obsoleteTables).toBeGreaterThan(0);
    expect(database.stats().logUsedBytes).toBeGreaterThan(0);

    await copyPlan(hold.plan, dir, join(into, 'copy'));
    expect(await proveLsm(join(into, 'copy'))).toEqual([]);
    const copy = await openLsm(join(into, 'copy'));
    expect(await dumpLsm(copy)).toEqual(expected);
    expect(copy.stats().lastLsn).toBe(hold.plan.checkpoint!.lsn);
    await copy.close();

    hold.release();
    hold.release();
    expect(database.stats().holds).toBe(0);
    await database.checkpoint();
    await database.compact();
    expect(database.stats()).toMatchObject({ obsoleteTables: 0, logUsedBytes: 0 });
    expect((await readdir(join(dir, 'sst'))).length).toBe(1);
    await database.close();
  });

  it('copies the headers of the log as they are on disk', async () => {
    const [dir, into] = [await temporaryFolder(), await temporaryFolder()];
    const database = await openLsm(dir, { walGeometry: small.walGeometry });
    for (let i = 0; i < 100; i++) await database.put(`k${i}`, 'x'.repeat(100)); // around the ring and more
    const hold = await database.hold();
    await copyPlan(hold.plan, dir, join(into, 'copy'));
    const [live, copy] = await Promise.all(
      [dir, join(into, 'copy')].map((at) => readFile(join(at, 'lsm.wal'))),
    );
    expect(copy!.subarray(0, 16)).toEqual(live!.subarray(0, 16));
    for (let at = 16; at < live!.byteLength; at += 2048) {
      expect(live!.readBigUInt64LE(at + 14)).toBeGreaterThan(1n);
      expect(copy!.subarray(at, at + 28)).toEqual(live!.subarray(at, at + 28));
    }
    hold.release();
    await database.close();
  });

  it('has every write acknowledged before it, and no write without all before it, under writers (invariant 5)', async () => {
    const dir = await temporaryFolder();
    const database = await openLsm(dir, {
      ...small,
      walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 },
    });
    const acknowledged = [-1, -1, -1, -1];
    let isDone = false;
    const writers = acknowledged.map(async (_, writer) => {
      for (let number = 0; !isDone; number++) {
        await database.put(`w${writer}:${String(number).padStart(6, '0')}`, 'x'.repeat(number % 90));
        acknowledged[writer] = number;
      }
    });
    for (let round = 0; round < 5; round++) {
      const before = [...acknowledged];
      const hold = await database.hold();
      if (round % 2 === 0) await database.compact();
      const into = join(await temporaryFolder(), 'copy');
      await copyPlan(hold.plan, dir, into);
      hold.release();
      expect(await proveLsm(into)).toEqual([]);
      const copy = await openLsm(into);
      for (const [writer, last] of before.entries()) {
        const numbers: number[] = [];
        for await (const [key] of copy.iterate({ prefix: `w${writer}:` }))
          numbers.push(Number(String(key).slice(3)));
        expect(numbers).toEqual(numbers.map((_, i) => i));
        expect(numbers.length).toBeGreaterThan(last);
      }
      await copy.close();
    }
    isDone = true;
    await Promise.all(writers);
    await database.close();
  });

  it('makes writers wait when the log is full, until the last of several is released', async () => {
    const [dir, into] = [await temporaryFolder(), await temporaryFolder()];
    const database = await openLsm(dir, small);
    await database.put('before', 'x');
    const holds = [await database.hold(), await database.hold()];
    const ring = database.stats().logBytes;
    const done: number[] = [];
    const writes = Array.from({ length: 40 }, (_, i) =>
      database.put(`k${i}`, 'y'.repeat(400)).then(() => done.push(i)),
    );
    // No flush can make room: everything that fits gets through, the rest waits.
    const fitting = Math.floor(ring / 430);
    while (done.length < fitting - 1) await database.get('before').then(() => new Promise(setImmediate));
    holds[0]!.release();
    await database.compact(); // something else that goes through the disk meanwhile
    expect(done.length).toBeLessThan(40);
    await copyPlan(holds[1]!.plan, dir, join(into, 'copy'));
    const copy = await openLsm(join(into, 'copy'));
    expect(Object.keys(await dumpLsm(copy))).toEqual([Buffer.from('before').toString('hex')]);
    await copy.close();
    holds[1]!.release();
    await Promise.all(writes);
    expect(done).toEqual(Array.from({ length: 40 }, (_, i) => i));
    await database.close();
    expect(await proveLsm(dir)).toEqual([]);
  });

  it('lets closing wait for it', async () => {
    const database = await openLsm(await temporaryFolder());
    const hold = await database.hold();
    let isClosed = false;
    const closing = database.close().then(() => {
      isClosed = true;
    });
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    expect(isClosed).toBe(false);
    hold.release();
    await closing;
  });
});

describe('while tables are being written', () => {
  it('the newest of several memtables is read, and writers wait for more than two', async () => {
    const gate = { isOpen: false, waiting: [] as (() => void)[] };
    const fs: FileSystem = {
      ...nodeFileSystem,
      async rename(from, to) {
        if (to.endsWith('.sst') && !gate.isOpen)
          await new Promise<void>((resolve) => gate.waiting.push(resolve));
        await nodeFileSystem.rename(from, to);
      },
    };
    const database = await openLsm(await temporaryFolder(), { fs, memtableBytes: 1000 });
    const written: number[] = [];
    const writer = (async () => {
      for (let i = 0; i < 40; i++) {
        // The active memtable does not have the key when it is asked for: the younger of the two frozen ones must answer.
        await database.put(i < 6 || i === 39 ? 'same' : 'other', String(i).padEnd(300, ' '));
        written.push(i);
      }
    })();
    // Two frozen memtables and a full one: then nothing more is taken.
    while (database.stats().frozenMemtables < 2 || database.stats().memtableBytes < 1000) {
      await new Promise(setImmediate);
    }
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    expect(database.stats()).toMatchObject({ frozenMemtables: 2, tables: 0 });
    expect(written.at(-1)).toBe(8);
    expect(Number(String(await database.get('same')))).toBe(5);
    const walked: number[] = [];
    for await (const [, value] of database.iterate()) walked.push(Number(String(value)));
    expect(walked).toEqual([8, 5]);
    gate.isOpen = true;
    for (const resume of gate.waiting) resume();
    await writer;
    expect(Number(String(await database.get('same')))).toBe(39);
    await database.close();
  });
});
