import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { BackupCoordinator, openLsm, RestoreCoordinator } from '../../src/index.ts';
import { stillpoint } from '../support/command.ts';
import { readTree } from '../support/folders.ts';
import { startScript } from '../support/process.ts';
import { temporaryFolder } from '../support/temp.ts';

// Whatever is in the folder of a database and is not the engine's: geth keeps `ancient/` there, applications their uploads.

const makers = {
  async leveldb(dir: string, value: string) {
    const db = new ClassicLevel(dir);
    await db.put('a', value);
    await db.close();
  },
  async lsm(dir: string, value: string) {
    // Made before the files that are not its own: it refuses a folder that holds others.
    const db = await openLsm(dir, { walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 } });
    await db.put(Buffer.from('a'), Buffer.from(value));
    await db.close();
  },
};

test.each(Object.entries(makers))(
  'a restore of %s in place moves the files of the engine and no others, and says so (invariant 13)',
  async (engine, write) => {
    const dir = join(await temporaryFolder(), 'data');
    await write(dir, 'old');
    mkdirSync(join(dir, 'ancient'));
    writeFileSync(join(dir, 'ancient/bodies'), 'chain');
    writeFileSync(join(dir, 'level.dat'), 'first');
    const result = await new BackupCoordinator({ dataDir: dir }).backup();
    expect([result.engine, result.leftOut]).toEqual([engine, ['ancient', 'level.dat']]);
    expect(existsSync(join(result.location, 'level.dat'))).toBe(false);
    writeFileSync(join(dir, 'level.dat'), 'second');
    const present = readTree(dir);

    const restore = new RestoreCoordinator({ dataDir: dir });
    const { undo, leftInPlace } = await restore.restore();
    expect(leftInPlace).toEqual(['ancient', 'level.dat']);
    expect(readFileSync(join(dir, 'level.dat'), 'utf8')).toBe('second');
    expect(readFileSync(join(dir, 'ancient/bodies'), 'utf8')).toBe('chain');
    expect([existsSync(join(undo, 'ancient')), existsSync(join(undo, 'level.dat'))]).toEqual([false, false]);

    expect((await restore.undo()).leftInPlace).toEqual(['ancient', 'level.dat']);
    expect(readTree(dir)).toEqual(present);
  },
);

test('a restore that fails in the opening leaves them where they are, too', async () => {
  const dir = join(await temporaryFolder(), 'data');
  await makers.leveldb(dir, 'old');
  await new BackupCoordinator({ dataDir: dir }).backup();
  await makers.leveldb(dir, 'new');
  writeFileSync(join(dir, 'level.dat'), 'mine');
  const before = readTree(dir);
  let failures = 1;
  const open = () => {
    if (failures-- > 0) throw new Error('not this time');
  };
  await expect(new RestoreCoordinator({ dataDir: dir, open }).restore()).rejects.toMatchObject({
    code: 'HOOK_FAILED',
  });
  expect(readTree(dir)).toEqual(before);
});

test('the command line says what it left out and what it left in place', async () => {
  const dir = join(await temporaryFolder(), 'data');
  await makers.leveldb(dir, 'old');
  writeFileSync(join(dir, 'uploads.zip'), 'x');
  expect((await stillpoint(['snapshot', dir])).stdout).toContain(
    'the engine did not write it (`--engine parts` takes it too): uploads.zip',
  );
  const restored = await stillpoint(['restore', 'latest', '--data-dir', dir, '--in-place']);
  expect(restored.stdout).toContain('the engine did not write it: uploads.zip');
});

test('a restore of plain files is refused while a database among them is open, and what would be lost is as it was', async () => {
  const dir = join(await temporaryFolder(), 'world');
  mkdirSync(dir);
  writeFileSync(join(dir, 'level.dat'), 'level');
  await makers.leveldb(join(dir, 'db'), 'old');
  const backups = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const { location } = await backups.backup();
  const other = startScript(
    `import { ClassicLevel } from 'classic-level';
     const db = new ClassicLevel(process.argv[2]);
     await db.put('a', 'new');
     console.log('open');
     process.stdin.once('data', async () => { await db.close(); process.exit(); });`,
    [join(dir, 'db')],
  );
  await once(other.stdout, 'data');
  const before = readTree(join(dir, 'db'));
  const restore = new RestoreCoordinator({ dataDir: dir });
  await expect(restore.restore()).rejects.toMatchObject({
    code: 'CONFLICT',
    path: join(dir, 'db'),
  });
  const dry = await stillpoint(['restore', location, '--in-place', '--dry-run', '--json']);
  expect(dry).toMatchObject({ code: 4, json: { error: { code: 'CONFLICT' } } });
  expect(readTree(join(dir, 'db'))).toEqual(before);
  other.stdin.write('close\n');
  await once(other, 'exit');
  await restore.restore();
  const db = new ClassicLevel(join(dir, 'db'));
  expect(await db.get('a')).toBe('old');
  await db.close();
});

test('snapshots of a database among plain files are none of these files, and no restore moves them away', async () => {
  const dir = join(await temporaryFolder(), 'world');
  mkdirSync(dir);
  writeFileSync(join(dir, 'level.dat'), 'level');
  await makers.leveldb(join(dir, 'db'), 'old');
  await new BackupCoordinator({ dataDir: join(dir, 'db') }).backup();
  const { location } = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  expect(existsSync(join(location, 'db/CURRENT'))).toBe(true);
  expect(existsSync(join(location, 'db/.lifecycle'))).toBe(false);
  const before = readTree(dir);
  const restoring = new RestoreCoordinator({ dataDir: dir }).restore();
  await expect(restoring).rejects.toMatchObject({
    code: 'PREFLIGHT_REFUSED',
    message: expect.stringContaining(join(dir, 'db/.lifecycle')),
  });
  expect(readTree(dir)).toEqual(before);
});

test.each(['before the restore', 'after it'])(
  'what was restored as plain files is undone as plain files, though a database is among them %s',
  async (when) => {
    const dir = join(await temporaryFolder(), 'data');
    await makers.leveldb(dir, 'old');
    writeFileSync(join(dir, 'notes.txt'), 'first');
    await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
    if (when === 'before the restore') await makers.leveldb(dir, 'new');
    else
      for (const name of readdirSync(dir)) if (name.match(/CURRENT|LO|MANIFEST|\d/)) rmSync(join(dir, name));
    writeFileSync(join(dir, 'notes.txt'), 'second');
    writeFileSync(join(dir, 'extra.txt'), 'not in the snapshot');
    const present = readTree(dir);
    const restore = new RestoreCoordinator({ dataDir: dir, engine: 'files' });
    await restore.restore();
    const restored = readTree(dir);
    expect(existsSync(join(dir, 'extra.txt'))).toBe(false);
    expect((await stillpoint(['undo', dir])).code).toBe(0);
    expect(readTree(dir)).toEqual(present);
    await restore.undo();
    expect(readTree(dir)).toEqual(restored);
    // As an older version left it, without a note.
    rmSync(join(dir, '.lifecycle/restore-notes'), { recursive: true });
    expect((await stillpoint(['undo', dir])).code).toBe(0);
    expect(readTree(dir)).toEqual(present);
    expect((await stillpoint(['prune', dir, '--undo', '--keep', '0', '--discard-writes'])).code).toBe(0);
    for (const folder of ['restore-backup', 'restore-notes'])
      expect(readdirSync(join(dir, '.lifecycle', folder))).toEqual([]);
  },
);

test('what lies among the tables of lsm and is not its own is told, in the snapshot and where it moves with them', async () => {
  const dir = join(await temporaryFolder(), 'data');
  await makers.lsm(dir, 'old');
  mkdirSync(join(dir, 'sst/mine'), { recursive: true });
  for (const name of ['notes.txt', '7.sst.bak', '.8.sst.tmp']) writeFileSync(join(dir, 'sst', name), 'mine');
  const told = ['sst/7.sst.bak', 'sst/mine', 'sst/notes.txt'];
  expect((await new BackupCoordinator({ dataDir: dir }).backup()).leftOut).toEqual(told);
  const shown = await stillpoint(['restore', 'latest', '--data-dir', dir, '--in-place', '--dry-run']);
  expect(shown.stdout).toContain(told.join(', '));
  const { undo, movedAlong } = await new RestoreCoordinator({ dataDir: dir }).restore();
  expect(movedAlong).toEqual(told);
  expect(readFileSync(join(undo, 'sst/notes.txt'), 'utf8')).toBe('mine');
});

test('what moved along with the tables comes back with an undo, and what was written beside them since is kept', async () => {
  const dir = join(await temporaryFolder(), 'data');
  await makers.lsm(dir, 'old');
  mkdirSync(join(dir, 'sst/mine'), { recursive: true });
  writeFileSync(join(dir, 'sst/mine/notes.txt'), 'before');
  await new BackupCoordinator({ dataDir: dir }).backup();
  const restore = new RestoreCoordinator({ dataDir: dir });
  await restore.restore();
  mkdirSync(join(dir, 'sst'), { recursive: true });
  writeFileSync(join(dir, 'sst/later.txt'), 'after');
  const { undo, movedAlong } = await restore.undo();
  expect(movedAlong).toEqual(['sst/later.txt']);
  expect(readFileSync(join(dir, 'sst/mine/notes.txt'), 'utf8')).toBe('before');
  const later = join(undo, 'sst/later.txt');
  expect(readFileSync(later, 'utf8')).toBe('after');
  expect((await stillpoint(['prune', dir, '--undo', '--keep', '0'])).code).toBe(0);
  expect(readFileSync(later, 'utf8')).toBe('after'); // only at the word of the operator
});

test.each(['42.tmp', 'MANIFEST-1', '7.log', 'CURRENT.old', '0000001.ldb'])(
  'LevelDB never writes %s, so it stays where it is',
  async (name) => {
    const dir = join(await temporaryFolder(), 'data');
    await makers.leveldb(dir, 'old');
    writeFileSync(join(dir, name), 'mine');
    expect((await new BackupCoordinator({ dataDir: dir }).backup()).leftOut).toEqual([name]);
    await new RestoreCoordinator({ dataDir: dir }).restore();
    expect(readFileSync(join(dir, name), 'utf8')).toBe('mine');
  },
);
