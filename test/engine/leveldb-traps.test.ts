import { copyFile, cp, link, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, onTestFinished, test } from 'vitest';
import { leveldbEngine } from '../../src/engine/leveldb/index.ts';
import { inspectLeveldbFile } from '../../src/engine/leveldb/inspect.ts';
import { nodeFileSystem as fs } from '../../src/env/node-file-system.ts';
import { tableNames } from '../../src/format/leveldb/file-name.ts';
import { captureInto, planInto, prove, readAll, Writer } from '../support/leveldb.ts';
import { fill, flipBit, namesOf, writeFolder } from '../support/leveldb-folders.ts';
import { temporaryFolder } from '../support/temp.ts';

test('trap 1: a capture in the owning process leaves the lock of the database in place', {
  timeout: 20_000,
}, async () => {
  const dir = join(await temporaryFolder(), 'db');
  const db = new ClassicLevel<string, string>(dir);
  await fill(db, 1000);
  onTestFinished(() => db.close());

  await captureInto(leveldbEngine, dir, `${dir}-copy`);
  expect(await leveldbEngine.detect(fs, dir)).toBe(true);
  expect((await prove(dir, 'full', true)).findings).toEqual([]);
  await expect(Writer.start(dir, 'idle')).rejects.toThrow(/lock/);

  // The trap is real: what every naive copy does lets a second process in while the first has the database open.
  await copyFile(join(dir, 'LOCK'), `${dir}-LOCK`);
  const intruder = await Writer.start(dir, 'idle');
  await intruder.kill();
});

test('trap 2: only live tables are captured, and one that is not live is an error in a copy', async () => {
  const dir = join(await temporaryFolder(), 'db');
  const db = new ClassicLevel<string, string>(dir, { compression: false });
  await fill(db, 2000);
  await db.compactRange('a', 'z');
  onTestFinished(() => db.close());
  const [old] = await namesOf(dir, /\.ldb$/);

  // While the capture pins tables, a compaction replaces them: what was pinned is no part of the state any more.
  const pinned: string[] = [];
  const plan = await leveldbEngine.plan({
    fs,
    dir: await fs.realPath(dir),
    async pin(path) {
      if (pinned.length === 0) {
        await fill(db, 2000, 70);
        await db.compactRange('a', 'z');
      }
      pinned.push(path);
      return pinned.length === 1 || (await fs.inspect(join(dir, path))) !== undefined;
    },
    confirmPin: async () => true,
    expectFiles() {},
    checkCancelled() {},
  });
  await plan.dispose!();
  expect(pinned).toContain(old);
  expect(plan.items.map(({ path }) => path)).not.toContain(old);
  for (const item of plan.items) {
    if (item.kind === 'immutable') expect(item.path).toMatch(/\.ldb$/);
    else expect(item.path).toMatch(/^(\d+\.log|MANIFEST-\d+|CURRENT)$/); // never a link
  }

  // Why: a database that is opened on a copy gives that number to a new file, and truncates what the name leads to.
  const copy = `${dir}-copy`;
  await db.put('in the log', 'and written to a table when the copy is opened');
  await captureInto(leveldbEngine, dir, copy);
  await fill(db, 2000, 80);
  await db.compactRange('a', 'z');
  const [source] = await namesOf(dir, /\.ldb$/);
  const manifest = await inspectLeveldbFile(fs, join(copy, (await namesOf(copy, /^MANIFEST/))[0]!));
  const next = (manifest as unknown as { state: { next_file: number } }).state.next_file;
  for (let number = next; number < next + 4; number++) {
    await link(join(dir, source!), join(copy, tableNames(number)[0]));
  }
  const { findings } = await prove(copy);
  expect(findings.map(({ code }) => code)).toEqual(Array(4).fill('LEVELDB_TABLE_NOT_LIVE'));
  expect((await prove(dir, 'full', true)).findings).toEqual([]);
  await writeFolder(copy, (opened) => opened.put('a', 'b'));
  expect((await prove(dir, 'full', true)).findings.map(({ path }) => path)).toContain(source);
});

test('trap 2: opening a captured folder as a copy leaves the source as it was (invariant 4)', async () => {
  const dir = join(await temporaryFolder(), 'db');
  const db = new ClassicLevel<string, string>(dir, { compression: false });
  await fill(db, 5000);
  onTestFinished(() => db.close());
  await captureInto(leveldbEngine, dir, `${dir}-copy`);
  const before = await Promise.all((await namesOf(dir, /\.ldb$/)).map((name) => stat(join(dir, name))));
  expect((await readAll(`${dir}-copy`)).size).toBe(5000);
  await writeFolder(`${dir}-copy`, (copy) => fill(copy, 3000, 100, 'other'));
  const after = await Promise.all((await namesOf(dir, /\.ldb$/)).map((name) => stat(join(dir, name))));
  expect(after.map(({ size, mtimeMs }) => [size, mtimeMs])).toEqual(
    before.map(({ size, mtimeMs }) => [size, mtimeMs]),
  );
  expect((await prove(dir, 'full', true)).findings).toEqual([]);
});

test('trap 3: damage that LevelDB opens without an error is found', async () => {
  const dir = join(await temporaryFolder(), 'db');
  await writeFolder(dir, (db) => fill(db, 500, 100), { compression: false });
  await writeFolder(dir, (db) => db.put('last', 'entry'), { compression: false });
  const [table] = await namesOf(dir, /\.ldb$/);
  await writeFolder(dir, async (db) => {
    for (let batch = 0; batch < 10; batch++) await fill(db, 100, 100, `late-${batch}`);
  });
  const [log] = await namesOf(dir, /\.log$/);
  expect((await readAll(dir)).size).toBe(1501);
  const damaged = async (name: string): Promise<string> => {
    await rm(`${dir}-${name}`, { recursive: true, force: true });
    await cp(dir, `${dir}-${name}`, { recursive: true });
    return `${dir}-${name}`;
  };

  const flipped = await damaged('flipped');
  await flipBit(join(flipped, log!), 20_000 * 8);
  expect((await readAll(flipped)).size).toBeLessThan(1501);
  expect((await prove(flipped)).findings[0]).toMatchObject({ path: log, code: 'LEVELDB_LOG_RECORD' });

  const without = await damaged('without');
  await rm(join(without, log!));
  expect((await readAll(without)).size).toBe(501);
  expect((await prove(without)).findings).toMatchObject([{ path: log, code: 'LEVELDB_LOG_MISSING' }]);

  const block = await damaged('block');
  const at = (await readFile(join(block, table!))).indexOf('00000007/');
  await flipBit(join(block, table!), at * 8);
  expect((await readAll(block)).get('key-00000007')).toMatch(/^10000007/);
  expect((await prove(block)).findings).toMatchObject([{ path: table, code: 'LEVELDB_BLOCK_CHECKSUM' }]);
});

test('the plan never names LOCK, LOG or temporary files', async () => {
  const dir = await writeFolder(join(await temporaryFolder(), 'db'), (db) => fill(db, 100));
  const plan = await planInto(leveldbEngine, dir, `${dir}-pins`);
  await plan.dispose!();
  expect(plan.items.map(({ path }) => path)).toEqual(expect.not.arrayContaining(['LOCK', 'LOG', 'LOG.old']));
});
