import { existsSync, mkdirSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { openBackup, restoreBackup } from '../../src/backup/restore-backup.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import { openFolder } from '../../src/destination/folder.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { plainDirectory, readTree } from '../support/folders.ts';
import { makeSmallLsm } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

const backUpFiles = (dataDir: string, to: Parameters<typeof backUp>[1]['to']) =>
  backUp(dataDir, { to, coordinator: new BackupCoordinator({ dataDir, engine: 'files' }) });

/** A data directory that has a snapshot, and a repository with a backup of it. */
async function stage() {
  const dataDir = await plainDirectory();
  const repository = join(await temporaryFolder(), 'repository');
  await initRepository(repository);
  await backUpFiles(dataDir, repository);
  return { dataDir, repository };
}

const CONFLICT = { code: 'DESTINATION_PATH_CONFLICT' };

test.each(['backups', 'deep/er/backups', '.lifecycle', '.lifecycle/backups', '.'])(
  'a repository is not made in a data directory, nor its folder: %s',
  async (inner) => {
    const { dataDir } = await stage();
    const before = readTree(dataDir);
    await expect(initRepository(join(dataDir, inner))).rejects.toMatchObject(CONFLICT);
    const link = join(await temporaryFolder(), 'link');
    symlinkSync(dataDir, link);
    await expect(initRepository(join(link, inner))).rejects.toMatchObject(CONFLICT);
    expect(readTree(dataDir)).toEqual(before);
    expect(existsSync(join(dataDir, '.lifecycle/backups'))).toBe(false);
  },
);

test('a repository is not made in a database that has no snapshot yet', async () => {
  const dataDir = join(await temporaryFolder(), 'db');
  await makeSmallLsm(dataDir);
  await expect(initRepository(join(dataDir, 'backups'))).rejects.toMatchObject(CONFLICT);
  expect(existsSync(join(dataDir, 'backups'))).toBe(false);
});

test('a repository that came into the data directory takes no backup, and gives none in place', async () => {
  const { dataDir, repository } = await stage();
  const inside = join(dataDir, 'repository');
  renameSync(repository, inside);
  const before = readTree(dataDir);
  const link = join(await temporaryFolder(), 'link');
  symlinkSync(inside, link);
  for (const to of [inside, `folder:${inside}`, link, await openFolder(link)]) {
    await expect(backUpFiles(dataDir, to)).rejects.toMatchObject(CONFLICT);
    const opened = openBackup('latest', { from: to, dataDir, allowOtherStore: true });
    await expect(opened).rejects.toMatchObject(CONFLICT);
  }
  expect(readTree(dataDir)).toEqual(before);
});

test('a data directory in a repository is not backed up to it, and nothing is restored or proven there', async () => {
  const { dataDir, repository } = await stage();
  const before = readTree(repository);
  await expect(
    restoreBackup('latest', { from: repository, into: join(repository, 'out') }),
  ).rejects.toMatchObject(CONFLICT);
  const verified = verifyBackup('latest', { from: repository, level: 'full', scratch: repository });
  await expect(verified).rejects.toMatchObject(CONFLICT);
  expect(readTree(repository)).toEqual(before);
  const inside = join(repository, 'data');
  renameSync(dataDir, inside);
  await expect(backUpFiles(inside, repository)).rejects.toMatchObject(CONFLICT);
});

test('a folder beside the data directory whose name begins alike is no conflict, and the shared disk is told', async () => {
  const { dataDir } = await stage();
  for (const beside of [`${dataDir}-backups`, join(dataDir, '..', '..backups')]) {
    mkdirSync(beside, { recursive: true });
    await initRepository(beside);
    const { warnings } = await backUp(dataDir, {
      to: beside,
      coordinator: new BackupCoordinator({ dataDir, engine: 'files' }),
    });
    expect(warnings).toEqual([expect.stringContaining('on the same disk')]);
  }
});
