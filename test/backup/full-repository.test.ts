import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { listBackups } from '../../src/backup/list-backups.ts';
import { pruneBackups } from '../../src/backup/prune-backups.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import { openDestination } from '../../src/destination/open.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { aged } from '../support/aged-destination.ts';
import { fillDisk, mountInMemory } from '../support/file-systems.ts';
import { plainDirectory, writeTree } from '../support/folders.ts';
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
