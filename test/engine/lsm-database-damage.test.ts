import { access, chmod, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { crc32 } from '../../src/format/crc32.ts';
import { encodeSectionHeader } from '../../src/format/lsm/wal.ts';
import { encodeEntry } from '../../src/format/lsm/wal-entry.ts';
import { openLsm } from '../../src/lsm-database/database.ts';
import { RingLog } from '../../src/lsm-database/ring-log.ts';
import { CrashFileSystem, noLocks, systemError } from '../support/crash-file-system.ts';
import { readTree } from '../support/folders.ts';
import { dumpLsm, proveLsm } from '../support/lsm.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

/** Odd, so that both answers come about. */
const STEP = perTier(3, 1);

const walGeometry = { segmentBytes: 4096, segmentCount: 2 };
const DATA_AT = 16 + 28;

/** A closed database with two tables and a log of commits `k4` to `k6`, each of one size. */
async function someDatabase(): Promise<string> {
  const dir = await temporaryFolder();
  const database = await openLsm(dir, { walGeometry });
  for (let i = 0; i < 7; i++) {
    await database.put(`k${i}`, `value ${i}`);
    if (i === 1 || i === 3) await database.checkpoint();
  }
  await database.close();
  return dir;
}

async function change(path: string, edit: (bytes: Buffer) => Buffer | undefined): Promise<void> {
  const bytes = await readFile(path);
  await writeFile(path, edit(bytes) ?? bytes);
}

/** Changes a byte; negative offsets count from the end. */
const flip =
  (offset: number) =>
  (bytes: Buffer): undefined => {
    bytes[offset < 0 ? bytes.byteLength + offset : offset]! ^= 0x55;
  };

const entryOf = (lsn: bigint, key: string): Buffer =>
  encodeEntry(lsn, [{ type: 'put', key: Buffer.from(key), value: Buffer.from('v'.repeat(50)) }], 'batch');

/** Writes entries behind the log's end as one group; returns where in the file each begins. */
async function appendGroup(dir: string, lsns: readonly bigint[]): Promise<number[]> {
  const log = await RingLog.open(nodeFileSystem, join(dir, 'lsm.wal'));
  const entries = lsns.map((lsn) => ({ lsn, bytes: entryOf(lsn, `g${lsn}`) }));
  const offsets = entries.map((_, i) => DATA_AT + log.section.end + i * entries[0]!.bytes.byteLength);
  await log.append(entries);
  await log.close();
  return offsets;
}

const keysIn = async (dir: string): Promise<string[]> => {
  const database = await openLsm(dir);
  const keys = Object.keys(await dumpLsm(database)).map((key) => Buffer.from(key, 'hex').toString());
  await database.close();
  return keys;
};

const seven = ['k0', 'k1', 'k2', 'k3', 'k4', 'k5', 'k6'];

describe('the torn end of a group that nobody was told of', () => {
  it('is cut off, and later commits are not lost behind it', async () => {
    const dir = await someDatabase();
    const [torn] = await appendGroup(dir, [16n]);
    await change(join(dir, 'lsm.wal'), (bytes) => void bytes.fill(0, torn! + 20, torn! + 60));
    const database = await openLsm(dir);
    await database.put('after', 'x');
    await database.close();
    expect(await proveLsm(dir)).toEqual([]);
    expect(await keysIn(dir)).toEqual(['after', ...seven]);
  });

  it('is cut off although later parts of the group are whole, and those never reappear', async () => {
    const dir = await someDatabase();
    const [first, second] = await appendGroup(dir, [16n, 17n, 19n]);
    const path = join(dir, 'lsm.wal');
    await change(path, (bytes) => void bytes.fill(0, first! + 20, first! + 60));
    const database = await openLsm(dir);
    expect(database.stats().lastLsn).toBe('14');
    await database.put('g16', 'w'.repeat(50));
    await database.close();
    // A power failure that keeps the next header and nothing of the next entry: what stood there before would follow.
    await change(path, (bytes) => {
      const end = second! - DATA_AT + (second! - first!);
      encodeSectionHeader({ start: Number(bytes.readBigUInt64LE(0)), end, full: false }).copy(bytes);
    });
    expect(await keysIn(dir)).toEqual(['g16', ...seven]);
  });

  it('is told from damage: when a later group stands behind it, nothing is cut off and nothing changed', async () => {
    const dir = await someDatabase();
    await appendGroup(dir, [16n, 17n]);
    const [, last] = await appendGroup(dir, [18n, 19n]);
    const path = join(dir, 'lsm.wal');
    await change(path, (bytes) => {
      bytes[DATA_AT + 14]! ^= 1; // in the first live entry
      bytes.fill(0, last!, last! + 60); // the last group is torn besides
    });
    const before = readTree(dir, ['lsm.alopex.lock']);
    await expect(openLsm(dir)).rejects.toMatchObject({ code: 'DATABASE_DAMAGED', path });
    expect(readTree(dir, ['lsm.alopex.lock'])).toEqual(before);
  });

  it('may be the whole log', async () => {
    const dir = await temporaryFolder();
    await (await openLsm(dir, { walGeometry })).close();
    const [only] = await appendGroup(dir, [2n]);
    await change(join(dir, 'lsm.wal'), (bytes) => void bytes.fill(0, only!, only! + 80));
    const database = await openLsm(dir);
    expect(database.stats()).toMatchObject({ logUsedBytes: 0, lastLsn: '0' });
    expect(await database.put('a', '1')).toEqual({ lsn: '2' });
    await database.close();
    expect(await keysIn(dir)).toEqual(['a']);
  });
});

describe('damage is refused by name and changes nothing', () => {
  const cases: [string, string, (dir: string) => Promise<void>][] = [
    ['a log that is gone', 'lsm.wal', (dir) => rm(join(dir, 'lsm.wal'))],
    ['a log without content', 'lsm.wal', (dir) => writeFile(join(dir, 'lsm.wal'), '')],
    ['a log cut short', 'lsm.wal', (dir) => change(join(dir, 'lsm.wal'), (bytes) => bytes.subarray(0, 6000))],
    [
      'a start outside the ring',
      'lsm.wal',
      (dir) => change(join(dir, 'lsm.wal'), (bytes) => void bytes.writeUInt32LE(1 << 20, 0)),
    ],
    ['a segment header', 'lsm.wal', (dir) => change(join(dir, 'lsm.wal'), flip(16 + 4096 + 15))],
    [
      'an id that leaves none to follow',
      'sst/18446744073709551615.sst',
      (dir) => rename(join(dir, 'sst/2.sst'), join(dir, 'sst/18446744073709551615.sst')),
    ],
    ['a table without content', 'sst/1.sst', (dir) => writeFile(join(dir, 'sst/1.sst'), '')],
    ["a table's footer", 'sst/2.sst', (dir) => change(join(dir, 'sst/2.sst'), flip(-1))],
    ["a table's header", 'sst/2.sst', (dir) => change(join(dir, 'sst/2.sst'), flip(9))],
    ['a bit of a filter', 'sst/1.sst', (dir) => change(join(dir, 'sst/1.sst'), flip(-49))],
    ['a bit of a value', 'sst/1.sst', (dir) => change(join(dir, 'sst/1.sst'), flip(70))],
  ];
  it.each(cases)('%s', async (_, path, damage) => {
    const dir = await someDatabase();
    await damage(dir);
    const before = readTree(dir, ['lsm.alopex.lock']);
    await expect(openLsm(dir)).rejects.toMatchObject({ code: 'DATABASE_DAMAGED', path: join(dir, path) });
    expect(readTree(dir, ['lsm.alopex.lock'])).toEqual(before);
  });

  it('a block, when it is read', async () => {
    const dir = await someDatabase();
    const path = join(dir, 'sst/1.sst');
    await change(path, (bytes) => {
      bytes[70]! ^= 1;
      bytes.writeUInt32LE(crc32(bytes.subarray(0, bytes.length - 48)), bytes.length - 8); // the file's own checksum holds
    });
    const database = await openLsm(dir);
    const damaged = { code: 'DATABASE_DAMAGED', path };
    await expect(database.get('k0')).rejects.toMatchObject(damaged);
    await expect(dumpLsm(database)).rejects.toMatchObject(damaged);
    await expect(database.compact()).rejects.toMatchObject(damaged);
    expect((await readdir(join(dir, 'sst'))).sort()).toEqual(['1.sst', '2.sst']);
    expect(String(await database.get('k3'))).toBe('value 3');
    await database.close();
  });

  it('links and folders in the place of files', async () => {
    for (const name of ['lsm.wal', 'sst/1.sst', 'checkpoint.meta', 'sst']) {
      const dir = await someDatabase();
      await rename(join(dir, name), join(dir, 'moved'));
      await symlink(join(dir, 'moved'), join(dir, name));
      await expect(openLsm(dir), name).rejects.toMatchObject({
        code: 'UNSUPPORTED_FILE',
        path: join(dir, name),
      });
    }
    const dir = await someDatabase();
    await rm(join(dir, 'lsm.alopex.lock'));
    await symlink(join(dir, 'lsm.wal'), join(dir, 'lsm.alopex.lock'));
    await expect(openLsm(dir)).rejects.toMatchObject({ code: 'UNSUPPORTED_FILE' });
  });
});

describe('opening', () => {
  it('creates only when asked to', async () => {
    const dir = join(await temporaryFolder(), 'deep/er');
    await expect(openLsm(dir, { createIfMissing: false })).rejects.toMatchObject({
      code: 'NOT_FOUND',
      path: dir,
    });
    await expect(access(dir)).rejects.toMatchObject({ code: 'ENOENT' });
    await mkdir(dir, { recursive: true });
    await expect(openLsm(dir, { createIfMissing: false })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await (await openLsm(dir, { walGeometry })).close();
    await (await openLsm(dir, { createIfMissing: false })).close();
    expect(await proveLsm(dir)).toEqual([]);
  });

  it('removes what a crash left half written, and only that', async () => {
    const dir = await someDatabase();
    for (const name of ['sst/.9.sst.tmp', '.checkpoint.meta.tmp', '.lsm.wal.tmp'])
      await writeFile(join(dir, name), 'half');
    await writeFile(join(dir, 'sst/.mine.tmp'), 'kept');
    expect(await keysIn(dir)).toEqual(seven);
    expect((await readdir(join(dir, 'sst'))).sort()).toEqual(['.mine.tmp', '1.sst', '2.sst']);
    expect((await readdir(dir)).sort()).toEqual(['checkpoint.meta', 'lsm.alopex.lock', 'lsm.wal', 'sst']);
  });

  it('continues the LSNs when checkpoint.meta is lost', async () => {
    const dir = await someDatabase();
    const first = await openLsm(dir);
    await first.checkpoint();
    await first.close();
    await rm(join(dir, 'checkpoint.meta'));
    const database = await openLsm(dir);
    expect(await database.put('k0', 'newer')).toEqual({ lsn: '16' });
    await database.checkpoint();
    expect(String(await database.get('k0'))).toBe('newer');
    await database.close();
  });

  it('reports that access is denied', async () => {
    const dir = await someDatabase();
    await chmod(join(dir, 'lsm.wal'), 0o000);
    const opened = await openLsm(dir).catch((error: unknown) => error);
    // The superuser may read everything.
    if (process.getuid?.() === 0) await (opened as Awaited<ReturnType<typeof openLsm>>).close();
    else expect(opened).toMatchObject({ code: 'ACCESS_DENIED' });
  });
});

describe('a disk that fails', () => {
  const open = (fs: CrashFileSystem) =>
    openLsm('/db', {
      fs,
      locks: noLocks,
      walGeometry: { segmentBytes: 600, segmentCount: 4 },
      memtableBytes: 2000,
      compactAtTables: 3,
    });

  it.each(['once', 'for good'])(
    '%s stops all writes with its error, whichever change fails; reads go on and nothing acknowledged is lost',
    async (how) => {
      let failures = 0;
      for (let failing = 1; ; failing += STEP) {
        const fs = new CrashFileSystem();
        const database = await open(fs);
        const offset = fs.changes;
        let what = '';
        let before = '';
        let isDeletionFailed = false;
        const outOfOrder: string[] = [];
        fs.onOperation = ({ name: verb, path, isChange }) => {
          if (!isChange) return;
          const number = fs.changes;
          const name = `${verb} ${basename(path)}`;
          const isFirst = number === offset + failing;
          if (number <= offset + failing ? !isFirst : how === 'once') {
            // Tables are deleted in an order that a failed sync of their folder makes void.
            if (isDeletionFailed && /^remove [0-9]/.test(name)) outOfOrder.push(name);
            before = name;
            return;
          }
          if (isFirst) what = name;
          if (name === 'sync folder sst' && /^remove [0-9]/.test(before)) isDeletionFailed = true;
          throw systemError(failing % 2 === 0 ? 'EIO' : 'ENOSPC', name);
        };
        const acknowledged = new Map<string, string>();
        const refused: string[] = [];
        for (let i = 0; i < 30; i++) {
          const value = `value ${i} `.repeat(10);
          await database.put(`k${i % 7}`, value).then(
            () => acknowledged.set(`k${i % 7}`, value),
            ({ code }) => refused.push(code),
          );
        }
        await database.compact().catch(() => undefined);
        await database.checkpoint().catch(() => undefined);
        const { state } = database.stats();
        const read = new Map<string, string>();
        for await (const [key, value] of database.iterate()) read.set(String(key), String(value));
        expect([...read], what).toEqual([...acknowledged].sort());
        if (state === 'failed') {
          await expect(database.put('more', 'x')).rejects.toMatchObject({
            code: failing % 2 === 0 ? 'IO_ERROR' : 'NO_SPACE',
          });
          await expect(database.checkpoint()).rejects.toMatchObject({
            hint: expect.stringContaining('open the database again'),
          });
        } else if (what !== '') {
          // Only what belongs to a compaction may fail without consequence for writes.
          expect(what).toMatch(/^(create|write|sync|rename|remove|sync folder) .*sst/);
          expect(refused).toEqual([]);
        }
        await database.close();
        expect(outOfOrder).toEqual([]);
        fs.onOperation = () => {};
        const again = await open(fs);
        for (const [key, value] of acknowledged) {
          const found = String(await again.get(key));
          // A refused write may have come through all the same.
          if (refused.length === 0) expect(found, what).toBe(value);
          else
            expect(Number(/\d+/.exec(found)![0]), what).toBeGreaterThanOrEqual(Number(/\d+/.exec(value)![0]));
        }
        await again.close();
        if (what === '') break;
        failures++;
      }
      expect(failures).toBeGreaterThan(100 / STEP);
    },
  );
});
