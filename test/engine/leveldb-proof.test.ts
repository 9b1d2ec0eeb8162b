import { copyFile, cp, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BackupCoordinator } from '../../src/coordinator/backup.ts';
import { verifySnapshot } from '../../src/coordinator/snapshot-by-path.ts';
import type { LogFacts } from '../../src/engine/leveldb/facts.ts';
import { leveldbEngine } from '../../src/engine/leveldb/index.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { crc32 } from '../../src/format/crc32.ts';
import { emptyEdit } from '../../src/format/leveldb/version-edit.ts';
import { checkOne, prove, readAll, Writer } from '../support/leveldb.ts';
import { encodeBatch, encodeInternalKey, encodeLog, encodeVersionEdit } from '../support/leveldb-encoders.ts';
import { fill, flipBit, namesOf, writeFolder, writeMixedFolder } from '../support/leveldb-folders.ts';
import { temporaryFolder } from '../support/temp.ts';

const TABLES = /\.ldb$/;
const MANIFESTS = /^MANIFEST-/;
const LOGS = /\.log$/;

const codes = async (dir: string, live = false): Promise<string[]> =>
  (await prove(dir, 'full', live)).findings.map(({ path, code, severity }) => `${severity} ${path} ${code}`);

describe('a folder that classic-level closed is proven without a finding', () => {
  const big = 'v'.repeat(5 * 1024 * 1024);
  const cases: Record<string, (dir: string) => Promise<unknown>> = {
    'an empty database': (dir) => writeFolder(dir, async () => {}),
    'one key': (dir) => writeFolder(dir, (db) => db.put('a', 'b')),
    'an empty key space after deletes': (dir) =>
      writeFolder(dir, async (db) => {
        await fill(db, 2000);
        await db.clear();
        await db.compactRange('a', 'z');
      }),
    'compressed tables': (dir) => writeFolder(dir, (db) => fill(db, 20_000, 400)),
    'tables without compression': (dir) =>
      writeFolder(dir, (db) => fill(db, 20_000, 400), { compression: false }),
    'values over 32 KiB, in tables and in the log': (dir) =>
      writeFolder(dir, (db) => fill(db, 200, 100_000), { compression: false }),
    'values over 4 MB': (dir) =>
      writeFolder(dir, async (db) => {
        await db.put('big', big);
        await db.put('bigger', big + big);
        await db.put('', 'an empty value and others'.repeat(3));
      }),
    'deletes and overwritten keys on several levels': (dir) =>
      writeFolder(
        dir,
        async (db) => {
          for (let round = 0; round < 6; round++) {
            await fill(db, 3000, 100 + round);
            for (let key = round; key < 300; key += 7) await db.del(`key-${String(key).padStart(8, '0')}`);
          }
        },
        { writeBufferSize: 64 * 1024 },
      ),
    'many tables': (dir) =>
      writeFolder(dir, (db) => fill(db, 60_000, 1000), {
        compression: false,
        writeBufferSize: 256 * 1024,
        maxFileSize: 1024 * 1024,
      }),
    'small blocks, and shared prefixes beyond 128 bytes': (dir) =>
      writeFolder(dir, (db) => fill(db, 3000, 10, 'p'.repeat(300)), {
        blockSize: 64,
        blockRestartInterval: 3,
      }),
    'tables and logs of several openings': writeMixedFolder,
  };
  for (const [name, write] of Object.entries(cases)) {
    test(name, { timeout: 30_000 }, async () => {
      const dir = join(await temporaryFolder(), 'db');
      await write(dir);
      // A compaction that was under way when the database was closed leaves a table that is not live.
      for (const { path, code } of (await prove(dir, 'full', true)).findings) {
        expect(code).toBe('LEVELDB_TABLE_NOT_LIVE');
        await rm(join(dir, path));
      }
      const { findings, checks } = await prove(dir);
      expect(findings).toEqual([]);
      for (const [path, check] of checks) {
        const content = await readFile(join(dir, path));
        expect([check.sizeBytes, check.crc32]).toEqual([content.length, crc32(content)]);
      }
      expect((await prove(dir, 'open')).findings).toEqual([]);
    });
  }

  test('and counts agree with what LevelDB reads, where nothing is overwritten', async () => {
    const dir = join(await temporaryFolder(), 'db');
    await writeFolder(dir, (db) => fill(db, 30_000, 300));
    await writeFolder(dir, (db) => db.compactRange('a', 'z'));
    const { checks } = await prove(dir);
    const tables = [...checks.values()].filter(({ counts }) => counts.tables === 1);
    expect(tables.length).toBeGreaterThan(1);
    const entries = tables.reduce((sum, { counts }) => sum + counts.entries!, 0);
    expect(entries).toBe((await readAll(dir)).size);
  });
});

test('a database that was killed while it was written to has no error', async () => {
  const dir = join(await temporaryFolder(), 'db');
  const writer = await Writer.start(dir);
  while ((await writer.state()).acknowledged < 500);
  await writer.kill();
  expect((await codes(dir, true)).filter((line) => line.startsWith('error'))).toEqual([]);
});

test('RocksDB and other folders are not taken for LevelDB', async () => {
  const dir = await writeFolder(join(await temporaryFolder(), 'db'), (db) => db.put('a', 'b'));
  expect(await leveldbEngine.detect(nodeFileSystem, dir)).toBe(true);
  await writeFile(join(dir, 'OPTIONS-000007'), '');
  expect(await leveldbEngine.detect(nodeFileSystem, dir)).toBe(false);
  expect(await leveldbEngine.detect(nodeFileSystem, await temporaryFolder())).toBe(false);
  const isNamed = { code: 'ENGINE_MISMATCH', message: expect.stringContaining('RocksDB') };
  await expect(new BackupCoordinator({ dataDir: dir }).backup()).rejects.toMatchObject(isNamed);
  await expect(verifySnapshot(dir)).rejects.toMatchObject(isNamed);
  // Who says that it is LevelDB is believed, and not where there is no file of it.
  const { leftOut } = await new BackupCoordinator({ dataDir: dir, engine: 'leveldb' }).backup();
  expect(leftOut).toEqual(['OPTIONS-000007']);
  expect(await verifySnapshot(dir, { engine: 'leveldb' })).toMatchObject({ ok: true });
  const other = await temporaryFolder();
  await writeFile(join(other, 'OPTIONS-000007'), '');
  await expect(new BackupCoordinator({ dataDir: other, engine: 'leveldb' }).backup()).rejects.toMatchObject({
    code: 'ENGINE_MISMATCH',
  });
});

describe('damage between files is found, each with the file named', () => {
  async function mixed(): Promise<{ dir: string; table: string; log: string; manifest: string }> {
    const dir = await writeMixedFolder(join(await temporaryFolder(), 'db'));
    const [table] = await namesOf(dir, TABLES);
    const [log] = await namesOf(dir, LOGS);
    const [manifest] = await namesOf(dir, MANIFESTS);
    return { dir, table: table!, log: log!, manifest: manifest! };
  }

  test('a table, the log, the MANIFEST or CURRENT is missing', async () => {
    const { dir, table, log, manifest } = await mixed();
    for (const [path, expected] of [
      [table, `error ${table} LEVELDB_TABLE_MISSING`],
      [log, `error ${log} LEVELDB_LOG_MISSING`],
      [manifest, 'error CURRENT LEVELDB_MANIFEST_MISSING'],
      ['CURRENT', 'error CURRENT LEVELDB_CURRENT_MISSING'],
    ] as const) {
      await rename(join(dir, path), join(dir, 'aside'));
      expect(await codes(dir)).toContain(expected);
      await rename(join(dir, 'aside'), join(dir, path));
    }
    expect(await codes(dir)).toEqual([]);
  });

  test('a table that is another one, shorter or longer', async () => {
    const { dir, table } = await mixed();
    const path = join(dir, table);
    const original = await readFile(path);
    await truncate(path, original.length - 1);
    expect(await codes(dir)).toContain(`error ${table} LEVELDB_TABLE_SIZE`);
    await writeFile(path, Buffer.concat([original, Buffer.alloc(1)]));
    expect(await codes(dir)).toContain(`error ${table} LEVELDB_TABLE_FOOTER`);
    await writeFile(path, '');
    expect(await codes(dir)).toContain(`error ${table} LEVELDB_TABLE_FOOTER`);
    const [, other] = await namesOf(dir, TABLES);
    await copyFile(join(dir, other!), path);
    expect(await codes(dir)).toContain(`error ${table} LEVELDB_TABLE_BOUNDS`);
  });

  test('files that are no part of the state: an error in a snapshot, a warning in a live folder', async () => {
    const { dir, table, log } = await mixed();
    await copyFile(join(dir, table), join(dir, '999999.ldb'));
    await copyFile(join(dir, log), join(dir, '000001.log'));
    await writeFile(join(dir, 'MANIFEST-999999'), encodeLog([]));
    const expected = [
      ' MANIFEST-999999 LEVELDB_MANIFEST_NOT_CURRENT',
      ' 999999.ldb LEVELDB_TABLE_NOT_LIVE',
      ' 000001.log LEVELDB_LOG_NOT_NEEDED',
    ];
    const own = (lines: string[]): string[] => lines.filter((line) => !line.includes('INCOMPLETE'));
    expect(own(await codes(dir))).toEqual(expected.map((line) => `error${line}`));
    expect(own(await codes(dir, true))).toEqual(expected.map((line) => `warning${line}`));
  });

  test('a torn log: an error in a snapshot, a warning in a live folder', async () => {
    const { dir, log } = await mixed();
    await truncate(join(dir, log), (await readFile(join(dir, log))).length - 1);
    expect(await codes(dir)).toEqual([`error ${log} LEVELDB_LOG_TORN`]);
    expect(await codes(dir, true)).toEqual([`warning ${log} LEVELDB_LOG_TORN`]);
  });

  test('writes that are missing between two logs, and before the first', async () => {
    const { dir, log } = await mixed();
    const { content } = (await checkOne(dir, log)).facts as { content: LogFacts };
    const next = BigInt(content.next!);
    const batch = (sequence: bigint): Buffer =>
      encodeLog([encodeBatch(sequence, [{ type: 'delete', key: Buffer.from('k') }])]);
    await writeFile(join(dir, '900000.log'), batch(next));
    expect(await codes(dir)).toEqual([]);
    await writeFile(join(dir, '900000.log'), batch(next + 1n));
    expect(await codes(dir)).toEqual(['error 900000.log LEVELDB_LOG_GAP']);
    await rm(join(dir, '900000.log'));
    await writeFile(join(dir, log), batch(next));
    expect(await codes(dir)).toEqual([`error ${log} LEVELDB_LOG_GAP`]);
  });

  test('an unknown comparator is reported, and the order of keys is not checked', async () => {
    const { dir, manifest } = await mixed();
    const edit = encodeVersionEdit({ ...emptyEdit(), comparator: 'idb_cmp1' });
    const content = await readFile(join(dir, manifest));
    await writeFile(join(dir, manifest), Buffer.concat([content, encodeLog([edit], content.length)]));
    expect(await codes(dir)).toEqual([`warning ${manifest} LEVELDB_COMPARATOR`]);
  });

  test('a MANIFEST whose tables cannot be live together', async () => {
    const { dir, manifest } = await mixed();
    const content = await readFile(join(dir, manifest));
    const key = (text: string): Buffer => encodeInternalKey(Buffer.from(text), 5n, 1);
    const table = (number: number, smallest: string, largest: string) => ({
      level: 5,
      number,
      sizeBytes: 9,
      smallest: key(smallest),
      largest: key(largest),
    });
    const edit = encodeVersionEdit({
      ...emptyEdit(),
      newFiles: [table(900001, 'a', 'f'), table(900002, 'e', 'g'), table(900003, 'z', 'y')],
    });
    await writeFile(join(dir, manifest), Buffer.concat([content, encodeLog([edit], content.length)]));
    const { findings } = await checkOne(dir, manifest);
    const messages = findings.map(({ message }) => message).join('\n');
    expect(messages).toMatch('tables 900001 and 900002 overlap in level 5');
    expect(messages).toMatch('the first key of table 900003 is behind its last');
    expect(messages).toMatch('table 900001 is not below the next number');
  });
});

test('all findings of a damaged file are reported, up to a hundred', async () => {
  const dir = await writeFolder(
    join(await temporaryFolder(), 'db'),
    async (db) => {
      await fill(db, 10_000, 100);
      await db.compactRange('a', 'z');
    },
    { compression: false },
  );
  const [table] = await namesOf(dir, TABLES);
  const path = join(dir, table!);
  await cp(path, `${path}.original`);
  for (const block of [1, 2, 3]) await flipBit(path, block * 5000 * 8);
  const three = (await checkOne(dir, table!)).findings;
  expect(three.map(({ code }) => code)).toEqual(Array(3).fill('LEVELDB_BLOCK_CHECKSUM'));
  expect(new Set(three.map(({ offset }) => offset)).size).toBe(3);

  const bytes = await readFile(path);
  for (let at = 0; at < bytes.length - 30_000; at += 1000) bytes[at]! ^= 1;
  await writeFile(path, bytes);
  const many = (await checkOne(dir, table!)).findings;
  expect(many).toHaveLength(101);
  expect(many.at(-1)).toMatchObject({ code: 'LEVELDB_MORE', message: expect.stringMatching(/^\d+ further/) });
  // Level `open` leaves the data blocks alone.
  expect((await checkOne(dir, table!, 'open')).findings).toEqual([]);
});
