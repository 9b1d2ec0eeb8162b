import { mkdirSync, readdirSync, renameSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type * as z from 'zod';
import { backUp } from '../../src/backup/back-up.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { BackupCoordinator, openLsm, RestoreCoordinator } from '../../src/index.ts';
import type { backupReplySchema } from '../../src/rpc/replies.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { accessibilityOf, browserOf, openPage, soon } from '../support/browser.ts';
import { rot } from '../support/rot.ts';
import { listening, smallLsm, untilFinished } from '../support/server.ts';
import { SMALL_LOG } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';
import { isLong } from '../support/tier.ts';

// What a person must see beside "Safe", in a real browser.

type BackupReply = z.infer<typeof backupReplySchema>;

const quoted = (path: string) => `'${path.replace("'", "'\\''")}'`;

/** A closed database with a table, in a folder whose name a shell must not take apart. */
async function closedDatabase(): Promise<{ root: string; dataDir: string }> {
  const root = await temporaryFolder();
  const dataDir = join(root, "it's data");
  mkdirSync(dataDir);
  const db = await openLsm(dataDir, SMALL_LOG);
  await db.put(Buffer.from('key'), Buffer.from('value'));
  await db.checkpoint();
  await db.close();
  return { root, dataDir };
}

test('a failed backup beside a good snapshot, what the next one needs, and how to give up an undo', async (context) => {
  const browser = await browserOf(context);
  const { root, dataDir } = await closedDatabase();
  const coordinator = new BackupCoordinator({ dataDir, engine: 'lsm' });
  const repository = join(root, 'repository');
  await initRepository(repository);
  await backUp(dataDir, { to: repository, coordinator });
  const now = Date.now() / 1000 + 0.001;
  utimesSync(join(dataDir, 'lsm.wal'), now, now); // as by a write after the snapshot
  await new RestoreCoordinator({ dataDir, engine: 'lsm' }).restore();
  renameSync(repository, `${repository}-unmounted`);
  await expect(backUp(dataDir, { to: repository, coordinator })).rejects.toThrow();
  let freeBytes: number | undefined;
  const fs = {
    ...systemEnvironment.fs,
    freeBytes: async (path: string) => freeBytes ?? systemEnvironment.fs.freeBytes(path),
  };
  const { server } = await listening({
    dataDir,
    backend: smallLsm(),
    environment: { ...systemEnvironment, fs },
  });
  const { page, complaints } = await openPage(browser, server.url);

  const sentence = page.locator('.sentence');
  const safe = page.getByRole('region', { name: 'Am I safe?' });
  await soon(() => safe.textContent()).toMatch(/Safe: .*the last backup to .*repository failed/);
  expect(await sentence.getAttribute('class')).toBe('sentence unsure');
  expect((await safe.textContent())!.match(/the last backup/g)).toHaveLength(1);
  const elsewhere = page.getByRole('region', { name: 'Is there a copy elsewhere?' });
  expect(await elsewhere.textContent()).toMatch(
    /repositoryNewest backup: just now.*Last read back: never.*Last drill: never.*The last backup failed/,
  );

  const room = page.getByRole('region', { name: 'Is there room?' });
  expect(await room.textContent()).toContain('The next snapshot fits');
  expect(await room.textContent()).toContain('may hold writes that no snapshot has');
  await room.getByRole('button', { name: /^Copy as command/ }).click();
  expect(await room.locator('.copy code').textContent()).toBe(
    `stillpoint prune ${quoted(dataDir)} --undo --keep 0 --dry-run`,
  );
  await room.getByRole('button', { name: 'Give up undo folders …' }).click();
  const question = page.getByRole('dialog');
  await question.getByText('None would go.').waitFor();
  await question.getByLabel('Also those that may hold writes').check();
  await question.getByText('1 undo folder would go').waitFor();
  expect(await question.textContent()).toMatch(
    /ts-\d+ may hold writes that no snapshot has: they would be lost/,
  );
  if (isLong) expect(await accessibilityOf(page)).toEqual([]);
  await question.getByLabel('The newest that stay:').fill('1');
  await question.getByText('None would go.').waitFor();
  await question.getByLabel('The newest that stay:').fill('0');
  expect(readdirSync(join(dataDir, '.lifecycle/restore-backup'))).toHaveLength(1);
  await question.getByRole('button', { name: 'Remove 1 undo folder for good' }).click();
  await room.getByText('1 undo folder removed').waitFor();
  expect(readdirSync(join(dataDir, '.lifecycle/restore-backup'))).toEqual([]);
  await soon(() => room.textContent()).not.toContain('may hold writes');

  freeBytes = 1;
  await fetch(`${server.url}/api/admin/prune`, { method: 'POST', body: '{"keep":1,"dry_run":true}' }); // looks anew
  await page.reload();
  await soon(() => room.textContent()).toContain('The next snapshot may not fit');
  expect(await room.textContent()).toContain('A restore may not fit');
  expect(complaints).toEqual([]);
});

test('a damaged database: how to salvage it is what the page wants done, and not a snapshot', async (context) => {
  const browser = await browserOf(context);
  const { dataDir } = await closedDatabase();
  const { name } = await new BackupCoordinator({ dataDir, engine: 'lsm' }).backup();
  const { server } = await listening({ dataDir, backend: smallLsm() });
  const tables = join(dataDir, 'sst');
  rot(join(tables, readdirSync(tables)[0]!), 20);
  const rpc = async (path: string, init: RequestInit = {}) =>
    (await fetch(`${server.url}/api/admin/${path}`, init)).json() as Promise<BackupReply>;
  const { handle } = await rpc('backup', { method: 'POST', body: '{"reuse":false}' });
  const { state } = await untilFinished(() => rpc(`backup/${handle}`));
  expect(state.code).toBe('SOURCE_DAMAGED');

  const { page, complaints } = await openPage(browser, server.url);
  const saved = page.getByRole('region', { name: 'What can be saved?' });
  await soon(() => saved.textContent()).toContain(`Restore ${name}`);
  expect(await saved.locator('code').textContent()).toBe(
    `stillpoint salvage ${quoted(dataDir)} --into ${quoted(`${dataDir}-salvaged`)}`,
  );
  const safe = page.getByRole('region', { name: 'Am I safe?' });
  const both = `${await safe.textContent()} ${await saved.textContent()}`;
  expect(both.match(/database itself is damaged/g)).toHaveLength(1);
  const wanted = page.locator('button.main');
  expect(await wanted.evaluateAll((all) => all.map((one) => one.getAttribute('aria-label')))).toEqual([
    'Copy as command: salvage the database',
  ]);
  expect(complaints).toEqual([]);
});
