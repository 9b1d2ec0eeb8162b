import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { describe, expect, test } from 'vitest';
import { kernelLocks } from '../../src/env/lock.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import {
  BackupCoordinator,
  type BackupCoordinatorOptions,
  Lifecycle,
  RestoreCoordinator,
  restoreSnapshot,
  Snapshots,
  verifySnapshot,
} from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { plainDirectory, readTree, writeTree } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

// What somebody who tried to break the promises found, each once.

const filesOf = (dir: string, options: Partial<BackupCoordinatorOptions> = {}) =>
  new BackupCoordinator({ dataDir: dir, engine: 'files', ...options });
const backupFolder = (dir: string) => join(dir, '.lifecycle/backup');
const TABLE = 'deep/er/b.bin';
/** Makes a plain file count as immutable, so that snapshots may share it. */
const holdTable = () => ({ plan: { items: [{ kind: 'immutable' as const, path: TABLE }] }, release() {} });

describe('links in the lifecycle folder lead nowhere (invariant 8)', () => {
  test.each(['restore', 'restore/x', 'backup/.partial-x', 'archive', 'backup/proofs'])(
    '%s',
    async (place) => {
      const dir = await plainDirectory();
      await filesOf(dir).backup();
      const outside = join(await temporaryFolder(), 'outside');
      writeTree(outside, { '.partial-mine/precious': 'keep me', precious: 'keep me' });
      const link = join(dir, '.lifecycle', place);
      rmSync(link, { recursive: true, force: true });
      mkdirSync(join(link, '..'), { recursive: true });
      symlinkSync(outside, link);
      const before = readTree(outside, []);
      await filesOf(dir)
        .backup()
        .catch(() => undefined);
      await new Lifecycle({ dataDir: dir }).recover().catch(() => undefined);
      await new RestoreCoordinator({ dataDir: dir, engine: 'files' }).restore().catch(() => undefined);
      expect(readTree(outside, [])).toEqual(before);
    },
  );
});

describe('hosts that misbehave', () => {
  test('a listener on the mode that throws does not undo a restore', async () => {
    const dir = await plainDirectory();
    await filesOf(dir).backup();
    writeFileSync(join(dir, 'a.txt'), 'changed');
    const lifecycle = new Lifecycle({ dataDir: dir });
    lifecycle.onMode(() => {
      throw new Error('listener');
    });
    const opened: string[] = [];
    const open = () => void opened.push(readFileSync(join(dir, 'a.txt'), 'utf8'));
    await new RestoreCoordinator({ dataDir: dir, engine: 'files', lifecycle, open }).restore();
    expect([opened, lifecycle.mode]).toEqual([['first'], 'normal']);
  });

  test('a hold that comes late and whose release throws does not end the process', async () => {
    const dir = await plainDirectory();
    const checkpoint = ({ signal }: { signal: AbortSignal }) =>
      new Promise<{ release(): void }>((resolve) => {
        const release = () => {
          throw new Error('release');
        };
        signal.addEventListener('abort', () => resolve({ release }));
      });
    const warned = new Promise((resolve) => process.once('warning', resolve));
    const backup = filesOf(dir, { checkpoint, checkpointTimeoutMs: 10 });
    await expect(backup.backup()).rejects.toMatchObject({ code: 'HOOK_TIMEOUT' });
    expect(await warned).toMatchObject({ message: 'release' });
  });

  test('a hold with an unusable plan is released', async () => {
    let held = 1;
    const release = () => {
      held--;
    };
    const checkpoint = () => ({ plan: { items: 'all' }, release }) as never;
    await expect(filesOf(await plainDirectory(), { checkpoint }).backup()).rejects.toMatchObject({
      code: 'HOOK_INVALID',
    });
    expect(held).toBe(0);
  });

  test('a time limit beyond what a timer takes is no time limit of a millisecond', async () => {
    const checkpoint = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));
    const backup = filesOf(await plainDirectory(), { checkpoint, checkpointTimeoutMs: 2 ** 33 });
    expect((await backup.backup()).state.status).toBe('completed');
  });

  test('a probe that hangs can be cancelled', async () => {
    const dir = await plainDirectory();
    const backup = filesOf(dir);
    let begun = () => {};
    const hasBegun = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const probe = () => {
      begun();
      return new Promise(() => {});
    };
    const { id } = await backup.startBackup({ probe });
    await hasBegun;
    backup.cancel(id);
    await expect(backup.finished(id)).rejects.toMatchObject({ code: 'CANCELLED' });
    await backup.backup();
  });
});

describe('sharing between snapshots', () => {
  test('a file of the last snapshot that somebody wrote into is not shared, whatever its inode and size', async () => {
    const dir = await plainDirectory();
    const backup = filesOf(dir, { checkpoint: holdTable });
    const first = await backup.backup();
    writeFileSync(join(first.location, TABLE), Buffer.alloc(300_000, 1), { flag: 'r+' });
    const second = await backup.backup();
    expect(second.reusedBytes).toBe(0);
    expect((await verifySnapshot(second.location)).ok).toBe(true);
  });

  test('a copy after a linked snapshot shares nothing with the database', async () => {
    const { BUSY } = await import('../support/lsm-workload.ts');
    const { openLsm } = await import('../../src/index.ts');
    const dir = join(await temporaryFolder(), 'data');
    const database = await openLsm(dir, BUSY);
    await database.put('a', 'b');
    await database.checkpoint();
    const backup = new BackupCoordinator({ dataDir: dir, checkpoint: () => database.hold() });
    const linked = await backup.backup({ mode: 'link' });
    const copied = await backup.backup({ mode: 'copy' });
    await database.close();
    const [table] = readdirSync(join(dir, 'sst'));
    const inode = (folder: string) => statSync(join(folder, 'sst', table!)).ino;
    expect(inode(linked.location)).toBe(inode(dir));
    expect(inode(copied.location)).not.toBe(inode(dir));
  });

  test('a marker that another tool moved or lost does not change the order of snapshots', async () => {
    const dir = await plainDirectory();
    const backup = filesOf(dir);
    const first = await backup.backup();
    const second = await backup.backup();
    writeFileSync(join(backupFolder(dir), 'latest'), first.name);
    const third = await backup.backup();
    rmSync(join(backupFolder(dir), 'latest'));
    const fourth = await backup.backup({ keep: 2 });
    expect(fourth.pruned).toEqual([first.name, second.name]);
    const { snapshots } = await new Snapshots({ dataDir: dir }).list();
    expect(snapshots.map(({ name, sequence }) => [name, sequence])).toEqual([
      [third.name, 3],
      [fourth.name, 4],
    ]);
  });
});

test('a snapshot is no place to restore into (invariant 3)', async () => {
  const dir = await plainDirectory();
  const { location } = await filesOf(dir).backup();
  for (const into of [join(location, 'inner'), join(dir, '.lifecycle/elsewhere')]) {
    await expect(restoreSnapshot(location, { into })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  }
  expect((await verifySnapshot(location)).ok).toBe(true);
});

test('a snapshot that is being deleted is not read (invariant 11)', async () => {
  const dir = await plainDirectory();
  const { location } = await filesOf(dir).backup();
  const lock = await kernelLocks.tryAcquire(nodeFileSystem, join(location, 'snapshot.manifest'), 'exclusive');
  await expect(verifySnapshot(location)).rejects.toMatchObject({ code: 'CONFLICT' });
  await lock?.release();
  expect((await verifySnapshot(location)).ok).toBe(true);
});

test('a file that somebody writes in the middle of an exchange is never overwritten', async () => {
  const dir = await plainDirectory();
  await filesOf(dir).backup();
  writeFileSync(join(dir, 'a.txt'), 'changed');
  const before = readTree(dir);
  const env = systemEnvironment;
  const clock = { ...env.clock, nowMs: () => 5_000_000 };
  const lifecycle = new Lifecycle({ dataDir: dir, environment: { ...env, clock } });
  const inTheWay = join(dir, '.lifecycle/restore-backup/ts-5000/a.txt');
  const close = () => writeTree(join(inTheWay, '..'), { 'a.txt': 'in the way' });
  const restore = new RestoreCoordinator({ dataDir: dir, engine: 'files', lifecycle, close });
  await expect(restore.restore()).rejects.toMatchObject({ code: 'CONFLICT', path: inTheWay });
  expect(readFileSync(inTheWay, 'utf8')).toBe('in the way');
  expect(readFileSync(join(dir, 'a.txt'), 'utf8')).toBe('changed');
  // Told to move it away; once that is done, the old state comes back whole.
  expect(lifecycle.mode).toBe('read_only');
  rmSync(inTheWay);
  expect(await new Lifecycle({ dataDir: dir }).recover()).toMatchObject({ restore: 'old' });
  expect(readTree(dir)).toEqual(before);
});

test('a name that is not valid UTF-8 is refused before anything is moved', async () => {
  const dir = await plainDirectory();
  await filesOf(dir).backup();
  writeFileSync(Buffer.concat([Buffer.from(`${dir}/`), Buffer.from([0x66, 0xff])]), 'latin');
  const before = readdirSync(dir).sort();
  const restore = new RestoreCoordinator({ dataDir: dir, engine: 'files' });
  await expect(restore.restore()).rejects.toMatchObject({ code: 'UNSUPPORTED_FILE' });
  expect(readdirSync(dir).sort()).toEqual(before);
  expect((await new Lifecycle({ dataDir: dir }).recover()).restore).toBeNull();
});

test('a live LevelDB under writes is never called damaged', async () => {
  const dir = join(await temporaryFolder(), 'data');
  const db = new ClassicLevel(dir, { writeBufferSize: 64 * 1024, maxFileSize: 64 * 1024 });
  await db.open(); // before that, there may be a folder that is no database yet
  let isOver = false;
  const writing = (async () => {
    for (let n = 0; !isOver; n += 50) {
      await db.batch(
        Array.from({ length: 50 }, (_, i) => ({
          type: 'put',
          key: `k${(n + i) % 5_000}`,
          value: `${n} `.repeat(50),
        })),
      );
    }
  })();
  for (let i = 0; i < 10; i++)
    expect(await verifySnapshot(dir)).toMatchObject({ ok: true, verdict: 'faithful' });
  isOver = true;
  await writing;
  await db.close();
  writeFileSync(join(dir, 'CURRENT'), 'MANIFEST-999999\n');
  expect((await verifySnapshot(dir)).ok).toBe(false);
});
