import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { listBackups, showBackup } from '../../src/backup/list-backups.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { openBackup, restoreBackup } from '../../src/backup/restore-backup.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { plainDirectory, writeTree } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

/** A repository with the stores of three data directories, of which two have the same name. */
async function stage() {
  const from = join(await temporaryFolder(), 'repository');
  await initRepository(from);
  const dirs = [];
  for (const name of ['orders', 'users', 'users']) {
    const dataDir = join(await temporaryFolder(), name);
    writeTree(dataDir, { file: `of ${dataDir}` });
    const coordinator = new BackupCoordinator({ dataDir, engine: 'files' });
    const { storeId, backupId } = await backUp(dataDir, { to: from, coordinator });
    dirs.push({ dataDir, storeId, backupId });
  }
  const [orders, users, others] = dirs;
  return { from, orders: orders!, users: users!, others: others! };
}

test('a list without a store names the backups of all', async () => {
  const { from, orders, users, others } = await stage();
  expect(await listBackups({ from })).toMatchObject({
    stores: [
      { storeId: orders.storeId, name: 'orders', backups: [{ backupId: orders.backupId }] },
      { storeId: users.storeId, name: 'users', backups: [{ backupId: users.backupId }] },
      { storeId: others.storeId, name: 'users', backups: [{ backupId: others.backupId }] },
    ],
  });
  rmSync(join(from, 'stores', users.storeId, 'store.json'));
  writeFileSync(join(from, 'stores', others.storeId, 'store.json'), 'spoiled');
  const { stores } = await listBackups({ from });
  expect(stores.map(({ name, backups }) => [name, backups.length])).toEqual([
    ['orders', 1],
    [null, 1],
    [null, 1],
  ]);
});

test('a damaged identity of a store says how the next backup comes to be', async () => {
  const { from, users } = await stage();
  const path = join(from, 'stores', users.storeId, 'store.json');
  writeFileSync(path, 'spoiled');
  const run = () =>
    backUp(users.dataDir, {
      to: from,
      coordinator: new BackupCoordinator({ dataDir: users.dataDir, engine: 'files' }),
    });
  await expect(run()).rejects.toMatchObject({
    code: 'REPOSITORY_INVALID',
    hint: expect.stringContaining('Remove it'),
  });
  rmSync(path); // as the hint says
  await run();
  const { stores } = await listBackups({ from });
  expect(stores.find(({ storeId }) => storeId === users.storeId)).toMatchObject({ name: 'users' });
});

test('the first backup of a restored folder says that it began a store beside that of the same name', async () => {
  const { from, orders } = await stage();
  const dataDir = join(await temporaryFolder(), 'orders');
  await restoreBackup('latest', { from, store: orders.storeId, into: dataDir });
  const run = async () =>
    (await backUp(dataDir, { to: from, coordinator: new BackupCoordinator({ dataDir, engine: 'files' }) }))
      .warnings;
  expect(await run()).toContainEqual(
    expect.stringMatching(new RegExp(`first backup of a new store.*"orders", ${orders.storeId}`)),
  );
  expect(await run()).not.toContainEqual(expect.stringContaining('new store'));
});

test('a store is named by its id, or by a name that only it has', async () => {
  const { from, orders, users } = await stage();
  for (const store of [orders.storeId, 'orders'])
    expect(await showBackup('latest', { from, store })).toMatchObject({ storeId: orders.storeId });
  expect(await showBackup('latest', { from, store: users.storeId })).toMatchObject({
    storeId: users.storeId,
  });
});

test('where several fit, or none, the error names them with id and name', async () => {
  const { from, orders, users, others } = await stage();
  const all = [orders, users, others].map(({ storeId }) => expect.stringContaining(storeId));
  for (const [options, code, hints] of [
    [{}, 'INVALID_REQUEST', [...all, expect.stringContaining('(orders)')]],
    [{ store: 'users' }, 'INVALID_REQUEST', all.slice(1)],
    [{ store: 'nobody' }, 'NOT_FOUND', all],
  ] as const) {
    for (const hint of hints)
      await expect(showBackup('latest', { from, ...options })).rejects.toMatchObject({ code, hint });
  }
});

test('a folder restored on a new machine begins a new store, or goes on with the old one as the README says', async () => {
  const { from, orders } = await stage();
  const into = join(await temporaryFolder(), 'restored');
  await restoreBackup('latest', { from, store: 'orders', into });
  const run = (dataDir: string, options = {}) =>
    backUp(dataDir, {
      to: from,
      coordinator: new BackupCoordinator({ dataDir, engine: 'files' }),
      ...options,
    });
  const readme = readFileSync(new URL('../../src/backup/README.md', import.meta.url), 'utf8');
  const [, json] = /echo '(.*)' > .*store\.json/.exec(readme)!;
  writeTree(into, { '.lifecycle/store.json': json!.replace(/01K\w+/, orders.storeId) });
  expect(await run(into, { claim: true })).toMatchObject({ storeId: orders.storeId, uploadedBytes: 0 });
  rmSync(join(into, '.lifecycle'), { recursive: true });
  expect((await run(into)).storeId).not.toBe(orders.storeId);
});

test('a restore in place takes the store of the data directory', async () => {
  const { from, users } = await stage();
  const opened = await openBackup('latest', { from, dataDir: users.dataDir });
  expect(opened).toMatchObject({ storeId: users.storeId, backupId: users.backupId });
  const stranger = await plainDirectory();
  await expect(openBackup('latest', { from, dataDir: stranger })).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    hint: expect.stringContaining('--store'),
  });
  const other = openBackup('latest', { from, dataDir: users.dataDir, store: 'orders' });
  await expect(other).rejects.toMatchObject({ code: 'RESTORE_PRECONDITION_FAILED' });
  const allowed = await openBackup('latest', {
    from,
    dataDir: users.dataDir,
    store: 'orders',
    allowOtherStore: true,
  });
  await allowed.source.release();
  await opened.source.release();
});
