import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { listBackups } from '../../src/backup/list-backups.ts';
import { pruneBackups } from '../../src/backup/prune-backups.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import { bodyOf, type Destination } from '../../src/destination/destination.ts';
import { openDestination } from '../../src/destination/open.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { StillpointError } from '../../src/errors.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { objectKey } from '../../src/repository/layout.ts';
import { Repository } from '../../src/repository/repository.ts';
import { StoreBackups } from '../../src/repository/store-backups.ts';
import { sweep } from '../../src/repository/sweep.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { aged } from '../support/aged-destination.ts';
import { bound } from '../support/bound-destination.ts';
import { fillDisk, mountInMemory } from '../support/file-systems.ts';
import { plainDirectory, writeTree } from '../support/folders.ts';
import { memoryDestination } from '../support/memory-destination.ts';
import { temporaryFolder } from '../support/temp.ts';

test('a repository on a disk without a free byte is pruned and swept, and takes a backup then (invariant 17)', async (context) => {
  const disk = join(await temporaryFolder(), 'disk');
  mountInMemory(context, disk, 8 * 1024 * 1024);
  const repository = join(disk, 'backups');
  await initRepository(repository);
  const dataDir = await plainDirectory();
  const coordinator = new BackupCoordinator({ dataDir, engine: 'files' });
  const backup = (n: number) => {
    writeTree(dataDir, { large: Buffer.alloc(2_000_000, `${n} ${Math.random()}`) });
    return backUp(dataDir, { to: repository, coordinator, compress: false });
  };
  await backup(1);
  const newest = await backup(2);
  const filling = fillDisk(disk);
  await expect(backup(3)).rejects.toMatchObject({ code: 'DESTINATION_NO_SPACE' });
  fillDisk(disk, 'what came free');

  const from = aged(await openDestination(repository));
  expect(await pruneBackups({ from, keepLast: 1 })).toMatchObject({ removed: [expect.any(String)] });
  fillDisk(disk, 'again');
  // Each list is four days old when it is seen.
  const { objectsDeleted } = await pruneBackups({ from, keepLast: 1 });
  expect(objectsDeleted).toBeGreaterThan(0);
  expect(await verifyBackup('latest', { from: repository })).toMatchObject({ backupId: newest.backupId });

  rmSync(filling);
  await backup(4);
  expect((await listBackups({ from: repository })).stores[0]!.backups).toHaveLength(2);
  expect(readdirSync(repository)).toContain('.reserve-1');
});

test('a sweep on a full disk comes to its end also where others take at once what it frees', async (context) => {
  const disk = join(await temporaryFolder(), 'disk');
  mountInMemory(context, disk, 8 * 1024 * 1024);
  const repository = join(disk, 'backups');
  await initRepository(repository);
  const dataDir = await plainDirectory();
  for (const n of [1, 2]) {
    writeTree(dataDir, { large: Buffer.alloc(300_000, `${n} ${Math.random()}`) });
    await backUp(dataDir, {
      to: repository,
      coordinator: new BackupCoordinator({ dataDir, engine: 'files' }),
    });
  }
  const folder = await openDestination(repository);
  let takers = 0;
  const take = () => fillDisk(disk, `taken-${takers++}`);
  const contested: Destination = {
    ...bound(folder),
    async put(key, body, options) {
      const put = await folder.put(key, body, options);
      take();
      return put;
    },
    async delete(keys) {
      await folder.delete(keys);
      take();
    },
  };
  const prune = () => {
    take();
    return pruneBackups({ from: aged(contested), keepLast: 1 });
  };
  expect((await prune()).objectsCondemned).toBeGreaterThan(0);
  for (let i = 0; i < takers; i++) rmSync(join(disk, `taken-${i}`), { force: true });
  await folder.abortStale(60 * 60 * 1000); // keeps space aside again
  expect((await prune()).objectsDeleted).toBeGreaterThan(0);
});

test('where the list of all that is to go does not fit, a sweep lists and deletes a part', async () => {
  const storeId = '01KXXXXXXXXXXXXXXXXXXXXXXX';
  const memory = memoryDestination();
  const full: Destination = {
    ...bound(memory),
    async put(key, body, options) {
      if (key.endsWith('/list') && body.sizeBytes > 30_000)
        throw new StillpointError('DESTINATION_NO_SPACE', 'no room for so much');
      return memory.put(key, body, options);
    },
  };
  const { repository } = await Repository.init(systemEnvironment, memory);
  const store = new StoreBackups(systemEnvironment, full, repository.id, storeId);
  const objects = () => [...memory.objects.keys()].filter((key) => key.includes('/objects/')).length;
  for (let i = 0; i < 400; i++) {
    const digits = String(i).padStart(32, '0');
    await memory.put(objectKey(storeId, digits.repeat(2), digits), bodyOf(Buffer.from('x')));
  }
  const sweepLater = () => {
    memory.nowMs += 49 * 60 * 60 * 1000;
    return sweep(store, { recorded: [], control: new RunControl() });
  };
  expect(await sweepLater()).toEqual({ objectsCondemned: 100, objectsDeleted: 0 });
  expect(await sweepLater()).toMatchObject({ objectsDeleted: 100 });
  expect(objects()).toBe(300);
});
