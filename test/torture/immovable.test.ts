import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, type TestContext, test } from 'vitest';
import { BackupCoordinator, Lifecycle, RestoreCoordinator, Snapshots } from '../../src/index.ts';
import { mountedImage, mountInMemory } from '../support/file-systems.ts';
import { readTree, writeTree } from '../support/folders.ts';
import { withRights } from '../support/needs.ts';
import { diskFolder, temporaryFolder } from '../support/temp.ts';

// What keeps an exchange of files from working is found before the database is closed, and before anything is copied.

const MiB = 1024 * 1024;
const FILES = { 'a.txt': 'first', 'folder/b.txt': 'second' };

/** Restores in place: refused at once, with the name of the obstacle, and the database never notices. */
async function expectRefusal(
  dataDir: string,
  obstacle: string,
  what: 'restore' | 'undo' = 'restore',
): Promise<void> {
  const runs = async () =>
    (await new Lifecycle({ dataDir }).runs()).filter(({ kind }) => kind === 'restore' || kind === 'undo')
      .length;
  const runsBefore = await runs();
  const before = readTree(dataDir);
  const hooks: string[] = [];
  const restore = new RestoreCoordinator({
    dataDir,
    engine: 'files',
    close: () => void hooks.push('close'),
    open: () => void hooks.push('open'),
  });
  await expect(what === 'undo' ? restore.startUndo() : restore.startRestore()).rejects.toMatchObject({
    code: 'PREFLIGHT_REFUSED',
    path: obstacle,
    message: expect.stringContaining(obstacle),
  });
  expect(hooks).toEqual([]);
  expect(readTree(dataDir)).toEqual(before);
  expect(await runs()).toBe(runsBefore);
}

async function withSnapshot(dataDir: string): Promise<string> {
  writeTree(dataDir, FILES);
  await new BackupCoordinator({ dataDir, engine: 'files' }).backup();
  return dataDir;
}

function bind(context: TestContext, folder: string): void {
  withRights(context, 'mount', '--bind', folder, folder);
  onTestFinished(() => void execFileSync('umount', ['-l', folder]));
}

test('a lifecycle folder on another file system', async (context) => {
  const dir = join(await temporaryFolder(), 'data');
  mountInMemory(context, join(dir, '.lifecycle'), 4 * MiB);
  await withSnapshot(dir);
  await expectRefusal(dir, join(dir, '.lifecycle'));
});

test('a lifecycle folder that is a bind mount of the same file system', async (context) => {
  const dir = await withSnapshot(join(await temporaryFolder(), 'data'));
  bind(context, join(dir, '.lifecycle'));
  await expectRefusal(dir, join(dir, '.lifecycle'));
});

test('a mount inside the data directory', async (context) => {
  const dir = await withSnapshot(join(await temporaryFolder(), 'data with space'));
  bind(context, join(dir, 'folder'));
  await expectRefusal(dir, join(dir, 'folder'));
});

test.for(['a.txt', 'folder'])('an immutable %s', async (name, context) => {
  const dir = await withSnapshot(join(await diskFolder(), 'data'));
  const path = join(dir, name);
  withRights(context, 'chattr', '+i', path);
  try {
    await expectRefusal(dir, path);
  } finally {
    execFileSync('chattr', ['-i', path]);
  }
  await new RestoreCoordinator({ dataDir: dir, engine: 'files' }).restore();
});

test('what an undo would bring back, or the folders of undo, are immutable or a mount', async (context) => {
  const dir = await withSnapshot(join(await diskFolder(), 'data'));
  const { undo } = await new RestoreCoordinator({ dataDir: dir, engine: 'files' }).restore();
  const kept = join(dir, '.lifecycle');
  const notes = join(kept, 'restore-notes');
  for (const path of [undo!, join(undo!, 'a.txt'), join(undo!, 'folder'), dirname(undo!), notes]) {
    withRights(context, 'chattr', '+i', path);
    try {
      await expectRefusal(dir, path, 'undo');
      if (!path.startsWith(undo!)) await expectRefusal(dir, path);
    } finally {
      execFileSync('chattr', ['-i', path]);
    }
  }
  bind(context, join(undo!, 'folder'));
  await expectRefusal(dir, join(undo!, 'folder'), 'undo');
});

test('a fresh volume with lost+found: a database in its root is captured and restored, and lost+found stays', async (context) => {
  const dir = await mountedImage(context, 'ext4');
  await withSnapshot(dir);
  writeFileSync(join(dir, 'a.txt'), 'changed');
  const { undo } = await new RestoreCoordinator({ dataDir: dir, engine: 'files' }).restore();
  expect(readFileSync(join(dir, 'a.txt'), 'utf8')).toBe('first');
  expect(readdirSync(dir).sort()).toEqual(['.lifecycle', 'a.txt', 'folder', 'lost+found']);
  expect(readdirSync(undo).sort()).toEqual(['a.txt', 'folder']);
});

test('a fresh volume with lost+found counts as empty for a restore into it', async (context) => {
  const dataDir = await withSnapshot(join(await temporaryFolder(), 'data'));
  const into = await mountedImage(context, 'ext4');
  const restored = await new Snapshots({ dataDir }).restore('latest', { into });
  expect(restored.report.ok).toBe(true);
  expect(readdirSync(into).sort()).toEqual(['a.txt', 'folder', 'lost+found']);
  expect(readTree(into)).toEqual(readTree(dataDir));
  // What is not empty is refused, and stays.
  await expect(new Snapshots({ dataDir }).restore('latest', { into })).rejects.toMatchObject({
    code: 'TARGET_NOT_EMPTY',
  });
  const folder = join(into, 'lost+found/below');
  mkdirSync(folder);
  await new Snapshots({ dataDir }).restore('latest', { into: folder });
  expect(readTree(folder)).toEqual(readTree(dataDir));
});

test('a restore into a volume that has too little space leaves it empty', async (context) => {
  const dataDir = await withSnapshot(join(await temporaryFolder(), 'data'));
  const into = join(await temporaryFolder(), 'into');
  mountInMemory(context, into, MiB);
  writeFileSync(join(dataDir, 'large.bin'), Buffer.alloc(2 * MiB, 1));
  await new BackupCoordinator({ dataDir, engine: 'files' }).backup();
  await expect(new Snapshots({ dataDir }).restore('latest', { into })).rejects.toMatchObject({
    code: 'NO_SPACE',
  });
  expect(readdirSync(into)).toEqual([]);
});
