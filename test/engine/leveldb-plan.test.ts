import {
  appendFile,
  copyFile,
  mkdir,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, onTestFinished, test } from 'vitest';
import { BackupCoordinator } from '../../src/coordinator/backup.ts';
import type { CapturePlan, Engine, PlanContext } from '../../src/engine/engine.ts';
import { createLeveldbEngine } from '../../src/engine/leveldb/create-engine.ts';
import { leveldbEngine } from '../../src/engine/leveldb/index.ts';
import type { FileSystem } from '../../src/env/file-system.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { emptyEdit } from '../../src/format/leveldb/version-edit.ts';
import { captureInto, planInto, prove, readAll } from '../support/leveldb.ts';
import { encodeBatch, encodeLog, encodeVersionEdit } from '../support/leveldb-encoders.ts';
import { fill, namesOf, writeFolder, writeMixedFolder } from '../support/leveldb-folders.ts';
import { planContext } from '../support/plan-context.ts';
import { temporaryFolder } from '../support/temp.ts';

const newFolder = async (): Promise<string> => join(await temporaryFolder(), 'db');

/** A plan over a file system of the test's own; nothing is pinned really. */
async function planOver(
  dir: string,
  fs: Partial<FileSystem>,
  engine: Engine = leveldbEngine,
): Promise<CapturePlan> {
  const context: PlanContext = {
    fs: { ...nodeFileSystem, ...fs },
    dir: await nodeFileSystem.realPath(dir),
    pin: async (path) => (await nodeFileSystem.inspect(join(dir, path))) !== undefined,
    confirmPin: async () => true,
    expectFiles() {},
    checkCancelled() {},
  };
  return engine.plan(context);
}

/** A file system that counts what it has open. */
function counting(): { fs: Partial<FileSystem>; open: Set<string> } {
  const open = new Set<string>();
  return {
    open,
    fs: {
      async open(path, how) {
        const file = await nodeFileSystem.open(path, how);
        open.add(`${file.fd} ${basename(path)}`);
        return {
          ...file,
          close() {
            open.delete(`${file.fd} ${basename(path)}`);
            return file.close();
          },
        };
      },
    },
  };
}

test('a folder at rest is planned in one round and captured whole', async () => {
  const dir = await writeMixedFolder(await newFolder());
  const plan = await captureInto(leveldbEngine, dir, `${dir}-copy`);
  expect(plan.rounds).toMatchObject({ count: 1, reasons: [], way: 'window' });
  expect(plan.items.map(({ path }) => path).sort()).toEqual(
    await namesOf(dir, /^(\d+\.(log|ldb)|MANIFEST-\d+|CURRENT)$/),
  );
  expect((await prove(`${dir}-copy`)).findings).toEqual([]);
  expect(await readAll(`${dir}-copy`)).toEqual(await readAll(dir));
  const { checks } = await prove(dir);
  const last = [...checks.values()].map(({ counts }) => counts.walLastLsn).find((lsn) => lsn != null);
  expect(plan.checkpoint).toEqual({ lsn: last });
});

test('an empty database, and one at the first moment of its life', async () => {
  const dir = await writeFolder(await newFolder(), async () => {});
  await captureInto(leveldbEngine, dir, `${dir}-copy`);
  expect((await prove(`${dir}-copy`)).findings).toEqual([]);
  expect((await readAll(`${dir}-copy`)).size).toBe(0);
});

test('torn ends of log and MANIFEST are cut off, at any length', async () => {
  const dir = await newFolder();
  await writeFolder(dir, async (db) => {
    for (let key = 0; key < 30; key++) await db.put(`key-${key}`, 'v'.repeat(key * 300));
    await db.put('large', 'w'.repeat(100_000));
  });
  const [log] = await namesOf(dir, /\.log$/);
  const [manifest] = await namesOf(dir, /^MANIFEST/);
  const whole = await readFile(join(dir, log!));
  await appendFile(join(dir, manifest!), encodeLog([Buffer.alloc(100)]).subarray(0, 50));
  for (let length = whole.length; length >= 0; length -= 6007) {
    await writeFile(join(dir, log!), whole.subarray(0, length));
    const copy = `${dir}-${length}`;
    await captureInto(leveldbEngine, dir, copy);
    expect((await prove(copy)).findings).toEqual([]);
    expect(await readAll(copy)).toEqual(await readAll(dir));
  }
});

test('damage in a log is captured as it is, so that the proof sees it', async () => {
  const dir = await writeFolder(await newFolder(), (db) => fill(db, 100));
  const [log] = await namesOf(dir, /\.log$/);
  const bytes = await readFile(join(dir, log!));
  bytes[bytes.length - 1]! ^= 1;
  await writeFile(join(dir, log!), bytes);
  await captureInto(leveldbEngine, dir, `${dir}-copy`);
  expect(await readFile(join(`${dir}-copy`, log!))).toEqual(bytes);
  expect((await prove(`${dir}-copy`)).findings).toMatchObject([{ path: log, code: 'LEVELDB_LOG_RECORD' }]);
});

test('a log that one listing of the folder misses is not lost', async () => {
  const dir = await writeFolder(await newFolder(), (db) => fill(db, 1000));
  const [log] = await namesOf(dir, /\.log$/);
  const newer = '900000.log';
  await writeFile(
    join(dir, newer),
    encodeLog([encodeBatch(1001n, [{ type: 'delete', key: Buffer.from('k') }])]),
  );
  for (const hidden of [log, newer]) {
    let looks = 0;
    const plan = await planOver(dir, {
      async list(path) {
        const entries = await nodeFileSystem.list(path);
        // The first look is for what engine this is.
        return ++looks === 2 ? entries.filter(({ name }) => name !== hidden) : entries;
      },
    });
    await plan.dispose!();
    expect(plan.items.map(({ path }) => path)).toEqual(expect.arrayContaining([log, newer]));
  }
});

test('a CURRENT that is replaced within the window makes another round', async () => {
  const dir = await writeFolder(await newFolder(), (db) => fill(db, 1000));
  const [manifest] = await namesOf(dir, /^MANIFEST/);
  const newer = 'MANIFEST-900001';
  let looks = 0;
  const plan = await planOver(dir, {
    async list(path) {
      const entries = await nodeFileSystem.list(path);
      // After the MANIFEST was read and before the window is over, as opening the database does it.
      if (++looks === 2) {
        await copyFile(join(dir, manifest!), join(dir, newer));
        await writeFile(join(dir, 'CURRENT.new'), `${newer}\n`);
        await rename(join(dir, 'CURRENT.new'), join(dir, 'CURRENT'));
      }
      return entries;
    },
  });
  await plan.dispose!();
  expect(plan.rounds).toMatchObject({ count: 2, reasons: ['CURRENT was replaced'], way: 'window' });
  const paths = plan.items.map(({ path }) => path);
  expect(paths).toContain(newer);
  expect(paths).not.toContain(manifest);
});

test('another database that is put in the place of this one within the window is planned anew, down to its tables', async () => {
  const write = async (dir: string, prefix: string) =>
    writeFolder(dir, async (db) => {
      await fill(db, 1000, 60, prefix);
      await db.compactRange('a', 'z');
    });
  const [dir, other] = [await write(await newFolder(), 'one'), await write(await newFolder(), 'two')];
  expect(await namesOf(other, /ldb|MANIFEST/)).toEqual(await namesOf(dir, /ldb|MANIFEST/));
  let looks = 0;
  const fs: FileSystem = {
    ...nodeFileSystem,
    async list(path) {
      if (++looks === 2) {
        await rename(dir, `${dir}.old`);
        await rename(other, dir);
      }
      return nodeFileSystem.list(path);
    },
  };
  const { context, pins } = await planContext(fs, dir);
  const plan = await leveldbEngine.plan(context);
  await plan.dispose!();
  expect(plan.rounds).toMatchObject({
    count: 2,
    reasons: [expect.stringMatching(/^MANIFEST-\d+ was replaced$/)],
  });
  const tables = plan.items.filter(({ kind }) => kind === 'immutable').map(({ path }) => path);
  expect(tables.length).toBeGreaterThan(0);
  for (const path of tables) {
    expect(pins.of(path).stat.ino).toBe((await nodeFileSystem.inspect(join(dir, path)))?.ino);
  }
});

test('more tables than a snapshot can hold are refused before the first is looked for', async () => {
  const dir = await writeFolder(await newFolder(), (db) => fill(db, 10));
  const [manifest] = await namesOf(dir, /^MANIFEST/);
  const newFiles = Array.from({ length: 400_001 }, (_, index) => ({
    level: 6,
    number: 1000 + index,
    sizeBytes: 100,
    smallest: Buffer.alloc(8),
    largest: Buffer.alloc(8),
  }));
  const { length } = await readFile(join(dir, manifest!));
  await appendFile(
    join(dir, manifest!),
    encodeLog([encodeVersionEdit({ ...emptyEdit(), newFiles })], length),
  );
  await expect(new BackupCoordinator({ dataDir: dir }).backup()).rejects.toMatchObject({
    code: 'UNSUPPORTED_FILE',
    message: expect.stringContaining('400001 files are more than one snapshot can hold'),
    hint: expect.stringContaining('compact'),
  });
});

test('when edits come faster than windows, the plan falls back to logs-first order', async () => {
  const dir = await writeFolder(await newFolder(), (db) => fill(db, 1000));
  const [manifest] = await namesOf(dir, /^MANIFEST/);
  const noise = encodeVersionEdit({ ...emptyEdit(), nextFile: 1000 });
  // Each look at the folder makes another edit, so that no window ever holds.
  const plan = await planOver(dir, {
    async list(path) {
      const { length } = await readFile(join(dir, manifest!));
      await appendFile(join(dir, manifest!), encodeLog([noise], length));
      return nodeFileSystem.list(path);
    },
  });
  await plan.dispose!();
  expect(plan.rounds).toMatchObject({ count: 25, way: 'logs-first' });
  expect(new Set(plan.rounds!.reasons)).toEqual(new Set([`${manifest} got another edit`]));
});

test('in logs-first order a log that began afterwards is planned as empty', async () => {
  const dir = await newFolder();
  const db = new ClassicLevel<string, string>(dir, { writeBufferSize: 64 * 1024 });
  onTestFinished(() => db.close());
  await fill(db, 300);
  const before = new Map(await db.iterator().all());
  let closed = 0;
  // Once the logs have their sizes, everything they hold goes to tables, and further writes to a further log.
  const plan = await planOver(
    dir,
    {
      async list(path) {
        const entries = await nodeFileSystem.list(path);
        if (++closed === 3) {
          await db.compactRange('a', 'z');
          await fill(db, 300, 60, 'later');
        }
        return entries;
      },
    },
    createLeveldbEngine({ windowRounds: 0 }),
  );
  const log = plan.items.find(({ path }) => path.endsWith('.log'));
  expect(log).toMatchObject({ kind: 'bytes', bytes: new Uint8Array() });

  const copy = `${dir}-copy`;
  await mkdir(copy);
  for (const item of plan.items) {
    if (item.kind === 'bytes') await writeFile(join(copy, item.path), item.bytes);
    else await writeFile(join(copy, item.path), await readFile(join(dir, item.path)));
    if (item.kind === 'image') await truncate(join(copy, item.path), item.sizeBytes);
  }
  await plan.dispose!();
  expect((await prove(copy)).findings).toEqual([]);
  expect(await readAll(copy)).toEqual(before);
});

test('damage ends planning at once and is reported as damage', async () => {
  const dir = await writeMixedFolder(await newFolder());
  const [table] = await namesOf(dir, /\.ldb$/);
  const [manifest] = await namesOf(dir, /^MANIFEST/);

  await rename(join(dir, table!), `${dir}-aside`);
  await expect(planOver(dir, {})).rejects.toMatchObject({
    code: 'SOURCE_DAMAGED',
    message: expect.stringContaining(`${table} is gone`),
    data: { reasons: Array(4).fill(`${table} is gone`) },
  });
  await rename(`${dir}-aside`, join(dir, table!));

  const bytes = await readFile(join(dir, manifest!));
  bytes[20]! ^= 4;
  await writeFile(join(dir, manifest!), bytes);
  await expect(planOver(dir, {})).rejects.toMatchObject({
    code: 'SOURCE_DAMAGED',
    message: expect.stringContaining(`${manifest} is damaged at offset 0`),
  });
  await writeFile(join(dir, 'CURRENT'), 'MANIFEST');
  await expect(planOver(dir, {})).rejects.toMatchObject({
    code: 'SOURCE_DAMAGED',
    message: expect.stringContaining('CURRENT holds "MANIFEST", which is not one line'),
  });
});

test('a missing log does not stop the capture; the proof reports it', async () => {
  const dir = await writeMixedFolder(await newFolder());
  const [log] = await namesOf(dir, /\.log$/);
  await rm(join(dir, log!));
  await captureInto(leveldbEngine, dir, `${dir}-copy`);
  expect((await prove(`${dir}-copy`)).findings).toMatchObject([{ path: log, code: 'LEVELDB_LOG_MISSING' }]);
});

/** A file system over which the log is cut `bytes` shorter before each of its first `times` readings. */
function shrinking(log: string, bytes: number, times: number): Partial<FileSystem> {
  let left = times;
  return {
    async open(path, how) {
      const file = await nodeFileSystem.open(path, how);
      if (basename(path) !== log) return file;
      return {
        ...file,
        async read(target, position) {
          if (left-- > 0) await truncate(path, (await file.stat()).sizeBytes - bytes);
          return file.read(target, position);
        },
      };
    },
  };
}

test('a log whose zeros are cut off while it is read is taken up to its last record', async () => {
  const dir = await writeFolder(await newFolder(), (db) => fill(db, 100));
  const [log] = await namesOf(dir, /\.log$/);
  const { length } = await readFile(join(dir, log!));
  const zeros = 4 * 32 * 1024;
  await truncate(join(dir, log!), length + 2 * zeros);
  const plan = await planOver(dir, shrinking(log!, zeros, 2));
  onTestFinished(() => plan.dispose!());
  expect(plan.items.find(({ path }) => path === log)).toMatchObject({
    extents: [{ offset: 0, length }],
  });
});

test('a log that gets shorter at every look is a source that changes, not a disk that fails', async () => {
  const dir = await writeFolder(await newFolder(), (db) => fill(db, 100));
  const [log] = await namesOf(dir, /\.log$/);
  const { length } = await readFile(join(dir, log!));
  await truncate(join(dir, log!), length + 64 * 32 * 1024);
  await expect(planOver(dir, shrinking(log!, 32 * 1024, 64))).rejects.toMatchObject({
    code: 'SOURCE_CHANGING',
  });
});

test('links in the place of files are refused, and a folder of something else', async () => {
  const dir = await writeFolder(await newFolder(), (db) => fill(db, 100));
  const [log] = await namesOf(dir, /\.log$/);
  await rename(join(dir, log!), `${dir}-log`);
  await symlink(`${dir}-log`, join(dir, log!));
  await expect(planOver(dir, {})).rejects.toMatchObject({ code: 'UNSUPPORTED_FILE' });
  await expect(leveldbEngine.listFiles(nodeFileSystem, dir)).rejects.toMatchObject({
    code: 'UNSUPPORTED_FILE',
  });
  await expect(planOver(await temporaryFolder(), {})).rejects.toMatchObject({ code: 'ENGINE_MISMATCH' });
});

test('every descriptor is closed: after dispose, after failure, after cancelling', async () => {
  const dir = await writeMixedFolder(await newFolder());
  const { fs, open } = counting();
  const plan = await planOver(dir, fs);
  expect(open.size).toBe(2); // the log and the MANIFEST
  await plan.dispose!();
  expect([...open]).toEqual([]);

  const cancelled = new Error('cancelled');
  const context = {
    fs: { ...nodeFileSystem, ...fs },
    dir: await nodeFileSystem.realPath(dir),
    pin: async () => true,
    confirmPin: async () => true,
    expectFiles() {},
    checkCancelled() {
      throw cancelled;
    },
  };
  await expect(leveldbEngine.plan(context)).rejects.toBe(cancelled);
  expect([...open]).toEqual([]);

  const [table] = await namesOf(dir, /\.ldb$/);
  await rm(join(dir, table!));
  await expect(planOver(dir, fs)).rejects.toMatchObject({ code: 'SOURCE_DAMAGED' });
  expect([...open]).toEqual([]);
});

test('the source is not touched: no byte, no name, no time', async () => {
  const dir = await writeMixedFolder(await newFolder());
  const look = async (): Promise<unknown> =>
    Promise.all(
      (await namesOf(dir, /./)).map(async (name) => {
        const { ino, mtimeNs, sizeBytes } = (await nodeFileSystem.inspect(join(dir, name)))!;
        return { name, ino, mtimeNs, sizeBytes };
      }),
    );
  const before = await look();
  const plan = await planInto(leveldbEngine, dir, `${dir}-pins`);
  await plan.dispose!();
  expect(await look()).toEqual(before);
});

test('invalid options are refused', () => {
  expect(() => createLeveldbEngine({ windowRounds: -1 })).toThrow(TypeError);
  expect(() => createLeveldbEngine({ windowRounds: 1.5 })).toThrow(TypeError);
  expect(() => createLeveldbEngine({ database: {} })).toThrow(/abstract-level/);
});
