import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  BackupCoordinator,
  Lifecycle,
  openLsm,
  RestoreCoordinator,
  type RestoreCoordinatorOptions,
  restoreSnapshot,
  Snapshots,
  verifySnapshot,
} from '../../src/index.ts';
import { PLAIN_FILES, plainDirectory, readTree, writeTree } from '../support/folders.ts';
import { startScript } from '../support/process.ts';
import { SMALL_LOG } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

/** A directory with one snapshot, changed since: the old state is what stands there, the new one what a restore brings. */
async function changedDirectory() {
  const dir = await plainDirectory();
  const { name, id, location } = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  const snapshot = readTree(dir);
  rmSync(join(dir, 'deep'), { recursive: true });
  writeTree(dir, { 'a.txt': 'changed', 'new/file': 'not in the snapshot' });
  return { dir, name, id, location, snapshot, present: readTree(dir) };
}

const restoreOf = (dir: string, options: Partial<RestoreCoordinatorOptions> = {}) =>
  new RestoreCoordinator({ dataDir: dir, engine: 'files', ...options });

const stagedIn = (dir: string) =>
  existsSync(join(dir, '.lifecycle/restore')) ? readdirSync(join(dir, '.lifecycle/restore')) : [];

const flipByte = (file: string, at: number) => {
  const bytes = readFileSync(file);
  bytes[at]! ^= 0x10;
  writeFileSync(file, bytes);
};

describe('into a new folder', () => {
  test.each(['latest', 'name', 'id', 'path'] as const)(
    'from %s, equal and without the manifest',
    async (by) => {
      const { dir, name, id, location, snapshot } = await changedDirectory();
      const into = join(await temporaryFolder(), 'not/yet/there');
      const source = { latest: 'latest', name, id, path: location }[by];
      const result = await (by === 'path'
        ? restoreSnapshot(source, { into })
        : new Snapshots({ dataDir: dir }).restore(source, { into }));
      expect(result).toMatchObject({
        from: location,
        into,
        files: Object.keys(PLAIN_FILES).length,
        undo: null,
      });
      expect(readTree(into)).toEqual(snapshot);
    },
  );

  test('an empty folder is accepted; any other target is refused and left alone', async () => {
    const { location, snapshot } = await changedDirectory();
    const root = await temporaryFolder();
    mkdirSync(join(root, 'empty'));
    await restoreSnapshot(location, { into: join(root, 'empty') });
    expect(readTree(join(root, 'empty'))).toEqual(snapshot);
    writeTree(join(root, 'full'), { mine: 'precious' });
    writeFileSync(join(root, 'file'), 'precious');
    symlinkSync(join(root, 'empty'), join(root, 'link'));
    for (const into of ['full', 'file', 'link']) {
      const refusal = restoreSnapshot(location, { into: join(root, into) });
      await expect(refusal).rejects.toMatchObject({ code: 'TARGET_NOT_EMPTY' });
    }
    expect(readdirSync(root).sort()).toEqual(['empty', 'file', 'full', 'link']);
    expect(readFileSync(join(root, 'full/mine'), 'utf8')).toBe('precious');
  });

  test('a damaged source is refused and nothing appears', async () => {
    const { location } = await changedDirectory();
    flipByte(join(location, 'deep/er/b.bin'), 77_777);
    const root = await temporaryFolder();
    await expect(restoreSnapshot(location, { into: join(root, 'new') })).rejects.toMatchObject({
      code: 'RESTORE_INTEGRITY_MISMATCH',
      message: expect.stringContaining('deep/er/b.bin'),
    });
    expect(readdirSync(root)).toEqual([]);
  });

  test('what is not a snapshot is refused', async () => {
    const root = await temporaryFolder();
    const into = join(root, 'new');
    writeTree(join(root, 'folder'), { 'a.txt': 'no manifest here' });
    await expect(restoreSnapshot(join(root, 'folder'), { into })).rejects.toMatchObject({
      code: 'RESTORE_INTEGRITY_MISMATCH',
    });
    await expect(restoreSnapshot(join(root, 'absent'), { into })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    await expect(new Snapshots({ dataDir: root }).restore('latest', { into })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    expect(existsSync(into)).toBe(false);
  });
});

describe('in place', () => {
  test('closes, exchanges and opens; the undo folder holds the old state, and undo brings it back', async () => {
    const { dir, name, location, snapshot, present } = await changedDirectory();
    const calls: string[] = [];
    const lifecycle = new Lifecycle({ dataDir: dir });
    const note = (call: string) => () =>
      void calls.push(`${call} ${lifecycle.mode} ${readFileSync(join(dir, 'a.txt'))}`);
    const restore = restoreOf(dir, { lifecycle, close: note('close'), open: note('open') });
    const result = await restore.restore();
    expect(calls).toEqual(['close maintenance changed', 'open maintenance first']);
    expect(lifecycle.mode).toBe('normal');
    expect(readTree(dir)).toEqual(snapshot);
    expect(readTree(result.undo)).toEqual(present);
    expect(result).toMatchObject({ from: location, metadata: { backupId: name, location } });
    expect(await restoreOf(dir).metadata(result.id)).toEqual(result.metadata);
    // The snapshot itself is untouched (invariant 3), and the way back can be taken back, too.
    expect((await verifySnapshot(location)).ok).toBe(true);
    const undone = await restore.undo();
    expect(readTree(dir)).toEqual(present);
    expect(existsSync(result.undo)).toBe(false);
    expect(readTree(undone.undo)).toEqual(snapshot);
    await restore.undo();
    expect(readTree(dir)).toEqual(snapshot);
  });

  test('a destroyed data directory comes back', async () => {
    const { dir, snapshot } = await changedDirectory();
    for (const name of readdirSync(dir))
      if (name !== '.lifecycle') rmSync(join(dir, name), { recursive: true });
    await restoreOf(dir, { engine: 'auto' }).restore();
    expect(readTree(dir)).toEqual(snapshot);
  });

  test('without an undo folder undo is refused, without a snapshot restore is', async () => {
    const dir = await plainDirectory();
    await expect(restoreOf(dir).undo()).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(restoreOf(dir).restore()).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('a refused source changes nothing, the mode included', async () => {
    const { dir, location, present } = await changedDirectory();
    const outside = join(await temporaryFolder(), 'outside');
    writeTree(outside, { 'snapshot.manifest': '{"version":1,"entries":[]}' });
    symlinkSync(outside, join(dir, '.lifecycle/backup/ts-5'));
    mkdirSync(join(dir, '.lifecycle/backup/ts-6'));
    const closed: string[] = [];
    const lifecycle = new Lifecycle({ dataDir: dir });
    lifecycle.onMode((mode) => closed.push(mode));
    const restore = restoreOf(dir, { lifecycle, close: () => void closed.push('close') });
    const refused = async (source: string, code: string) =>
      expect(restore.restore({ source }), source).rejects.toMatchObject({ code });
    await refused('ts-1', 'NOT_FOUND');
    await refused('ts-5', 'NOT_FOUND');
    await refused('ts-6', 'RESTORE_INTEGRITY_MISMATCH');
    await refused(outside, 'PATH_OUTSIDE');
    await refused(join(dir, '.lifecycle/backup/ts-5'), 'PATH_OUTSIDE');
    await refused(`${dir}/.lifecycle/../../..`, 'PATH_OUTSIDE');
    await refused('../..', 'PATH_OUTSIDE');
    flipByte(join(location, 'a.txt'), 0);
    await refused(location, 'RESTORE_INTEGRITY_MISMATCH');
    writeFileSync(join(location, 'extra'), '');
    await refused(location, 'RESTORE_INTEGRITY_MISMATCH');
    expect(readTree(dir)).toEqual(present);
    expect(closed).toEqual([]);
    expect(readdirSync(join(dir, '.lifecycle'))).not.toContain('restore-backup');
  });

  test('a folder that the operator allowed may be a source', async () => {
    const { dir, location, snapshot } = await changedDirectory();
    const root = await temporaryFolder();
    const moved = join(root, 'elsewhere');
    await restoreSnapshot(location, { into: moved });
    writeFileSync(join(moved, 'snapshot.manifest'), readFileSync(join(location, 'snapshot.manifest')));
    await restoreOf(dir, { allowedSources: [root] }).restore({ source: moved });
    expect(readTree(dir)).toEqual(snapshot);
  });

  test('a host that cannot close keeps what it has', async () => {
    const { dir, present } = await changedDirectory();
    const lifecycle = new Lifecycle({ dataDir: dir });
    const close = () => Promise.reject(new Error('busy'));
    await expect(restoreOf(dir, { lifecycle, close }).restore()).rejects.toMatchObject({
      code: 'HOOK_FAILED',
    });
    expect([readTree(dir), lifecycle.mode]).toEqual([present, 'normal']);
  });

  test('a host that cannot open the new state gets the old one back, open', async () => {
    const { dir, present, snapshot } = await changedDirectory();
    const lifecycle = new Lifecycle({ dataDir: dir });
    const opened: unknown[] = [];
    const open = () => {
      opened.push(readTree(dir));
      writeFileSync(join(dir, 'LOG'), 'the engine wrote before it failed');
      if (opened.length === 1) throw new Error('not my format');
    };
    await expect(restoreOf(dir, { lifecycle, open }).restore()).rejects.toMatchObject({
      code: 'HOOK_FAILED',
    });
    expect(opened).toEqual([snapshot, present]);
    rmSync(join(dir, 'LOG'));
    expect([readTree(dir), lifecycle.mode]).toEqual([present, 'normal']);
    expect(readdirSync(join(dir, '.lifecycle/restore'))).toEqual([]);
    expect(readdirSync(join(dir, '.lifecycle/restore-backup'))).toEqual([]);
  });

  test('a host that cannot open either state is read-only', async () => {
    const { dir, present } = await changedDirectory();
    const lifecycle = new Lifecycle({ dataDir: dir });
    const open = () => Promise.reject(new Error('out of memory'));
    await expect(restoreOf(dir, { lifecycle, open }).restore()).rejects.toMatchObject({
      code: 'HOOK_FAILED',
    });
    expect([readTree(dir), lifecycle.mode]).toEqual([present, 'read_only']);
  });

  test('a restore and a snapshot exclude each other', async () => {
    const { dir } = await changedDirectory();
    const lifecycle = new Lifecycle({ dataDir: dir });
    const restore = restoreOf(dir, { lifecycle });
    const backup = new BackupCoordinator({ dataDir: dir, engine: 'files', lifecycle });
    const { id } = await restore.startRestore();
    await expect(restore.startRestore()).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(restore.startUndo()).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(backup.startBackup()).rejects.toMatchObject({ code: 'CONFLICT' });
    await restore.finished(id);
    await backup.backup();
  });

  test('cancelling is possible until the exchange, and leaves no trace', async () => {
    const { dir, present } = await changedDirectory();
    const restore = restoreOf(dir);
    const { id } = await restore.startRestore();
    expect(restore.cancel(id)).toBe(true);
    await expect(restore.finished(id)).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(readTree(dir)).toEqual(present);
    expect(readdirSync(join(dir, '.lifecycle/restore'))).toEqual([]);
    let answer: boolean | undefined;
    const cancelLate = () => {
      answer = late.cancel(second);
    };
    const late = restoreOf(dir, { close: () => cancelLate() });
    const { id: second } = await late.startRestore();
    await late.finished(second);
    expect(answer).toBe(false);
  });
});

describe('a crash in the middle of a restore (invariant 7)', () => {
  test('a real process, killed while the host opens the new state, ends in the new one', async () => {
    const { dir, snapshot } = await changedDirectory();
    const child = startScript(
      `import { RestoreCoordinator } from 'stillpoint';
       const open = () => { process.stdout.write('opening'); for (;;) {} };
       await new RestoreCoordinator({ dataDir: process.argv[2], engine: 'files', open }).restore();`,
      [dir],
    );
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    const recovery = await new Lifecycle({ dataDir: dir }).recover();
    expect(recovery).toMatchObject({ restore: 'new', interrupted: [] });
    expect((await new Lifecycle({ dataDir: dir }).runs()).at(-1)).toMatchObject({
      kind: 'restore',
      state: { status: 'completed', code: null, progress: { percent: 100 } },
      metadata: { backupId: expect.stringMatching(/^ts-/) },
      undo: readdirSync(join(dir, '.lifecycle/restore-backup')).at(-1),
    });
    const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
    expect(readTree(dir)).toEqual(snapshot);
    await backup.backup();
  });

  test('nothing else begins before an interrupted exchange is recovered', async () => {
    const { dir, present } = await changedDirectory();
    const journal = (phase: string) =>
      JSON.stringify({ id: 'x', phase, from: 'restore/x/data', undo: 'restore-backup/ts-1', keep: [] });
    const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
    writeTree(dir, { '.lifecycle/restore/x/journal.json': journal('back-in') });
    const refusal = { code: 'CONFLICT', hint: expect.stringContaining('recover') };
    await expect(backup.backup()).rejects.toMatchObject(refusal);
    await expect(restoreOf(dir).restore()).rejects.toMatchObject(refusal);
    writeTree(dir, { '.lifecycle/restore/x/journal.json': journal('opening') });
    await backup.backup();
    expect([stagedIn(dir), readTree(dir)]).toEqual([[], present]);
  });

  test('an open database that nobody closes is refused before anything is read', async () => {
    const dir = join(await temporaryFolder(), 'data');
    const database = await openLsm(dir, SMALL_LOG);
    await new BackupCoordinator({ dataDir: dir, checkpoint: () => database.hold() }).backup();
    const restores = new RestoreCoordinator({ dataDir: dir });
    await expect(restores.startRestore()).rejects.toMatchObject({
      code: 'CONFLICT',
      message: expect.stringContaining('is open'),
    });
    await database.close();
    expect(await restores.restore()).toMatchObject({ report: { ok: true } });
  });

  test('our own database does not open on a directory that is half exchanged', async () => {
    const dir = join(await temporaryFolder(), 'data');
    await (await openLsm(dir)).close();
    const journal = { id: 'x', phase: 'out', from: 'restore/x/data', undo: 'restore-backup/ts-1', keep: [] };
    writeTree(dir, { '.lifecycle/restore/x/journal.json': JSON.stringify(journal) });
    rmSync(join(dir, 'lsm.wal'));
    await expect(openLsm(dir)).rejects.toMatchObject({
      code: 'CONFLICT',
      hint: expect.stringContaining('recover'),
    });
    expect(existsSync(join(dir, 'lsm.wal'))).toBe(false);
  });

  test('a journal that does not read is an error, never "nothing to do"', async () => {
    const { dir, present } = await changedDirectory();
    writeTree(dir, { '.lifecycle/restore/x/journal.json': '{"phase":"elsewhere"}' });
    await expect(new Lifecycle({ dataDir: dir }).recover()).rejects.toMatchObject({ code: 'IO_ERROR' });
    expect(readTree(dir)).toEqual(present);
  });
});

test('a new folder inside the data directory is refused: the next restore would move it away', async () => {
  const { dir, location } = await changedDirectory();
  const refusal = restoreSnapshot(location, { into: join(dir, 'inner/folder') });
  await expect(refusal).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  expect(existsSync(join(dir, 'inner'))).toBe(false);
});
