import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, fsyncSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { ClassicLevel } from 'classic-level';
import { expect, type TestContext, test } from 'vitest';
import type { FileSystem } from '../../src/env/file-system.ts';
import { inlinePool } from '../../src/env/worker-pool.ts';
import {
  BackupCoordinator,
  Lifecycle,
  Snapshots,
  verifyAllSnapshots,
  verifySnapshot,
} from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { readProofs } from '../../src/snapshot/ledger/proven-files.ts';
import { TASKS } from '../../src/snapshot/tasks/tasks.ts';
import { mountedImage } from '../support/file-systems.ts';

// A disk that confirms what it was given and keeps something else: one bit of each marked block is another one once it is synced.
// The memory of the operating system goes on holding what was written.

const MARK = Buffer.from('this block will be spoilt by the disk');

/** Where the image holds the mark. */
function marksIn(image: string): number[] {
  const bytes = readFileSync(image);
  const found: number[] = [];
  for (let at = bytes.indexOf(MARK); at !== -1; at = bytes.indexOf(MARK, at + 1)) found.push(at);
  return found;
}

/** A database on a disk of its own, and an environment in which that disk spoils what is written from now on. */
async function spoilingDisk(context: TestContext) {
  const folder = await mountedImage(context, 'ext4');
  const image = join(dirname(folder), 'image');
  const dataDir = join(folder, 'data');
  const database = new ClassicLevel(dataDir, { compression: false });
  await database.open();
  for (let i = 0; i < 300; i++) {
    const value = i % 100 === 7 ? `${MARK}${'x'.repeat(3000)}` : 'y'.repeat(3000);
    await database.put(`key${String(i).padStart(5, '0')}`, value);
  }
  await database.compactRange('a', 'z'); // into tables
  await database.close();
  for (const name of readdirSync(dataDir)) {
    const fd = openSync(join(dataDir, name), 'r');
    fsyncSync(fd);
    closeSync(fd);
  }
  const own = new Set(marksIn(image));
  expect(own.size).toBeGreaterThan(0);
  let spoilt = 0;
  const spoil = (): void => {
    const fd = openSync(image, 'r+');
    for (const at of marksIn(image)) {
      if (own.has(at)) continue;
      writeSync(fd, Buffer.of(MARK[0]! ^ 1), 0, 1, at);
      spoilt++;
    }
    closeSync(fd);
  };
  const fs: FileSystem = {
    ...systemEnvironment.fs,
    async open(path, how, pastCache) {
      const file = await systemEnvironment.fs.open(path, how, pastCache);
      const sync = async (): Promise<void> => {
        await file.sync();
        if (path.endsWith('.ldb')) spoil();
      };
      return Object.defineProperties(
        { ...file, sync },
        { isPastCache: { get: () => file.isPastCache, enumerable: true } },
      );
    },
  };
  const environment = { ...systemEnvironment, fs, pool: inlinePool(TASKS, fs) };
  const lifecycle = new Lifecycle({ dataDir, environment });
  return {
    dataDir,
    backups: new BackupCoordinator({ dataDir, engine: 'leveldb', lifecycle }),
    spoilt: () => spoilt,
  };
}

const HOWS = [{ medium: true }, { pace: 'quiet' as const }];

test('what the disk has spoilt is found before it is published, where the medium is proven', async (context) => {
  const { dataDir, backups, spoilt } = await spoilingDisk(context);
  for (const how of HOWS) {
    const before = spoilt();
    await expect(backups.backup(how)).rejects.toMatchObject({ code: 'COPY_DAMAGED' });
    expect(spoilt()).toBeGreaterThan(before);
  }
  expect(existsSync(join(dataDir, '.lifecycle/backup/latest'))).toBe(false);
  // The memory of the operating system says that all is well: so that is no proof of the medium.
  const { location, report } = await backups.backup();
  expect(report).toMatchObject({ ok: true, medium: false });
  expect(await verifySnapshot(location)).toMatchObject({ ok: true, medium: false });
  expect(await verifySnapshot(location, { medium: true })).toMatchObject({
    ok: false,
    verdict: 'copy-damaged',
    medium: true,
  });
});

test('a proof from memory is not carried on where the medium is to be proven', async (context) => {
  const { backups } = await spoilingDisk(context);
  await backups.backup();
  // The tables are shared with the snapshot before, which was proven; from memory.
  expect((await backups.backup()).report).toMatchObject({ ok: true, medium: false });
  await expect(backups.backup({ medium: true })).rejects.toMatchObject({ code: 'COPY_DAMAGED' });
});

test('on a disk that keeps what it is given, the proof of the medium is carried on', async (context) => {
  const dataDir = join(await mountedImage(context, 'ext4'), 'data');
  const database = new ClassicLevel(dataDir);
  await database.open();
  await database.put('key', 'value');
  await database.close();
  for (const how of HOWS) {
    const backups = new BackupCoordinator({ dataDir, engine: 'leveldb' });
    expect((await backups.backup({ ...how, reuse: false })).report).toMatchObject({ ok: true, medium: true });
    expect((await backups.backup(how)).report).toMatchObject({ ok: true, medium: true });
    expect((await backups.backup()).report.medium).toBe(false); // the manifest and the log were read from memory
  }
});

test.for([
  ['btrfs', [], 'defaults'],
  ['ext4', [], 'data=journal'],
  ['ext4', ['-O', 'inline_data'], 'defaults'], // `CURRENT` is so small that it lies in its inode
] as const)(
  'where direct reading may come from memory, nothing is said to be proven of the medium: %s %j %s',
  async ([kind, options, mount], context) => {
    const folder = await mountedImage(context, kind, ...options);
    execFileSync('umount', [folder]);
    execFileSync('mount', ['-o', `loop,${mount}`, join(dirname(folder), 'image'), folder]);
    const dataDir = join(folder, 'data');
    const database = new ClassicLevel(dataDir);
    await database.open();
    await database.put('key', 'value');
    await database.close();
    const { report } = await new BackupCoordinator({ dataDir, engine: 'leveldb' }).backup({ pace: 'quiet' });
    expect(report).toMatchObject({ ok: true, medium: false });
  },
);

test('of all snapshots too, a proof from memory does not count where the medium is to be proven', async (context) => {
  const { dataDir, backups } = await spoilingDisk(context);
  await backups.backup();
  const young = { olderThanMs: 3_600_000 };
  expect(await verifyAllSnapshots(dataDir, young)).toMatchObject({ ok: true, totals: { readBytes: 0 } });
  // What is not read at all is not proven of the medium either.
  const { snapshots } = await verifyAllSnapshots(dataDir, { medium: true, maxBytes: 1 });
  expect(snapshots).toMatchObject([{ complete: false, report: { medium: false } }]);
  expect(await verifyAllSnapshots(dataDir, { medium: true, ...young })).toMatchObject({
    ok: false,
    totals: { damaged: 1 },
  });
});

test('when the medium was proven stays on record, whatever is read from memory later', async (context) => {
  const dataDir = join(await mountedImage(context, 'ext4'), 'data');
  const database = new ClassicLevel(dataDir);
  await database.open();
  await database.put('key', 'value');
  await database.compactRange('a', 'z');
  await database.close();
  const backups = new BackupCoordinator({ dataDir, engine: 'leveldb' });
  const proofOf = async (location: string) => {
    const proofs = await readProofs(systemEnvironment.fs, location);
    return [...proofs].find(([path]) => path.endsWith('.ldb'))![1];
  };
  const { location } = await backups.backup({ medium: true });
  const first = await proofOf(location);
  expect(first.medium_at_ms).toBe(first.proven_at_ms);
  const listed = async () => (await new Snapshots({ dataDir }).list()).snapshots.at(-1)!.mediumAtMs;
  expect(await listed()).toBe(first.medium_at_ms);
  await setTimeout(2);
  await verifySnapshot(location); // from memory
  const again = await proofOf(location);
  expect(again.proven_at_ms).toBeGreaterThan(first.proven_at_ms);
  expect(again.medium_at_ms).toBe(first.medium_at_ms);
  expect(await listed()).toBe(first.medium_at_ms);
  const carried = await proofOf((await backups.backup()).location);
  expect(carried.medium_at_ms).toBe(first.medium_at_ms);
});
