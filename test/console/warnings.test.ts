import { mkdirSync, readdirSync, renameSync, rmdirSync, utimesSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import type * as z from 'zod';
import { backUp } from '../../src/backup/back-up.ts';
import { openJobs } from '../../src/backup/jobs/open-jobs.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { newUlid } from '../../src/env/ulid.ts';
import { BackupCoordinator, openLsm, RestoreCoordinator } from '../../src/index.ts';
import type { backupReplySchema } from '../../src/rpc/replies.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { accessibilityOf, browserOf, openPage, soon } from '../support/browser.ts';
import { rot } from '../support/rot.ts';
import { listening, smallLsm, untilFinished } from '../support/server.ts';
import { withPlans } from '../support/server-plans.ts';
import { makeSmallLsm, SMALL_LOG } from '../support/small-lsm.ts';
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
  expect(await room.textContent()).toMatch(
    /How long the disk lasts: room for .* snapshots like the last, which took/,
  );
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

test('a damaged snapshot beside a healthy database: what ends the problem, and what each question warns of', async (context) => {
  const browser = await browserOf(context);
  const { dataDir } = await closedDatabase();
  const coordinator = new BackupCoordinator({ dataDir, engine: 'lsm' });
  const damaged = await coordinator.backup();
  const db = await openLsm(dataDir, SMALL_LOG);
  await db.put(Buffer.from('later'), Buffer.from('value'));
  await db.close();
  const ahead = await coordinator.backup({ reuse: false });
  await new RestoreCoordinator({ dataDir, engine: 'lsm' }).restore({ source: damaged.name });
  const good = await coordinator.backup({ reuse: false });
  rot(join(damaged.location, 'lsm.wal'), 100);
  const { server } = await listening({ dataDir, backend: smallLsm() });
  const { page, complaints } = await openPage(browser, server.url);

  await page.getByRole('button', { name: `Verify ${damaged.name}`, exact: true }).click();
  await page.getByRole('alert').waitFor();
  expect(await focusOf(page)).toBe(`Verify ${damaged.name}`);
  const advice = page.getByRole('region', { name: 'What can be done?' });
  await soon(() => advice.locator('dt').allTextContents()).toEqual(['remove damaged']);
  expect(await advice.textContent()).toContain(`Delete …, at ${damaged.name} below`);

  await page.getByRole('button', { name: `Restore ${damaged.name}`, exact: true }).click();
  const question = page.getByRole('dialog');
  expect(await question.textContent()).toContain(`is damaged. The best of the others is ${good.name}.`);
  expect(await question.getByRole('button').allTextContents()).toEqual(['Close']);
  await page.keyboard.press('Escape');
  await soon(() => focusOf(page)).toBe(`Restore ${damaged.name}`);

  expect(await page.getByRole('button', { name: `Delete ${good.name}`, exact: true }).count()).toBe(0);
  await page.getByText(`Not to be deleted: ${good.name} is the newest proven snapshot`).waitFor();
  await page.getByRole('button', { name: `Delete ${ahead.name}`, exact: true }).click();
  expect(await question.locator('.bad').textContent()).toMatch(/may hold writes that no newer one has/);
  expect(await question.locator('code').textContent()).toBe(
    `stillpoint restore ${quoted(ahead.name)} --data-dir ${quoted(dataDir)} --into ${quoted(`${dataDir}-${ahead.name}`)}`,
  );
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: `Delete ${damaged.name}`, exact: true }).click();
  expect(await question.locator('.bad').count()).toBe(0);
  const failed = page.getByRole('region', { name: 'What failed?' });
  expect(await failed.textContent()).not.toContain('solved since');
  await page.getByRole('button', { name: 'Delete it for good' }).click();
  await failed.getByText('solved since').waitFor();
  await soon(() => focusOf(page)).toBe(`${damaged.name} was deleted.`);
  await page.getByRole('button', { name: 'Snapshot now' }).click();
  await soon(() => page.locator('.snapshots > li').count()).toBe(3);
  expect(await focusOf(page)).toBe('Snapshot now');
  expect(complaints).toEqual([]);
});

test('a repository that is away is not an empty one, and a failure that was made good is marked', async (context) => {
  const browser = await browserOf(context);
  const { dataDir, settings } = await withPlans();
  await makeSmallLsm(dataDir);
  const coordinator = new BackupCoordinator({ dataDir, engine: 'lsm' });
  const repository = join(dirname(dataDir), 'repository');
  await backUp(dataDir, { to: repository, coordinator });
  await ranBefore(dataDir);
  renameSync(repository, `${repository}-away`);
  mkdirSync(repository);
  const { server } = await listening({ dataDir, settings, backend: smallLsm() });
  const { page, complaints } = await openPage(browser, server.url);

  const back = page.getByRole('button', { name: 'Back up now, plan nightly' });
  await back.focus();
  await page.keyboard.press('Enter');
  const failed = page.getByRole('region', { name: 'What failed?' });
  await failed.getByText('Backup off the machine').waitFor();
  expect(await failed.textContent()).not.toContain('solved since');
  expect(await failed.textContent()).toContain('What to do: Check that its disk is mounted.');
  const advice = page.getByRole('region', { name: 'What can be done?' });
  await soon(() => advice.textContent()).toContain('Backups in it are on record: mount its disk');
  expect(await focusOf(page)).toBe('Back up now, plan nightly');
  const numbers = page.locator('.numbers');
  expect(await numbers.textContent()).toMatch(
    /Last proven.*in a repository: not known: it cannot be read.*Recoverable window.*in a repository: not known/,
  );
  expect(await numbers.textContent()).toContain('plan nightly; none is overdue');
  expect(await numbers.textContent()).toContain('2.8 s');
  const problem = page.getByText('The backups in offsite cannot be shown');
  expect(await problem.textContent()).toMatch(/on record: is its disk mounted\?$/);
  const next = page.getByRole('region', { name: 'What comes next?' });
  expect(await next.textContent()).toContain('last run by the schedule: succeeded just now');

  // What lies in another repository is told, and what is not counted.
  const [whole, unread] = [backupAt(Date.now() - 3_600_000), backupAt(Date.now())];
  const backups = [whole, { ...unread, problem: 'no', verified_at_ms: null }];
  await page.route('**/repositories/near/backups', (route) => route.fulfill({ json: { backups } }));
  await page.route('**/api/admin/plans', async (route) => {
    const { plans } = await (await route.fetch()).json();
    await route.fulfill({ json: { plans: [...plans, { ...plans[0], name: 'more', repository: 'near' }] } });
  });
  await page.reload();
  await soon(() => numbers.textContent()).toMatch(
    /Last proven.*in a repository: 1 h.* ago; not counted: offsite, which cannot be read.*Recoverable window/,
  );
  expect(await numbers.textContent()).toMatch(
    /Recoverable window.*in a repository: one moment, .*; not counted: offsite, which cannot be read; 1 that could not be read/,
  );
  await page.unroute('**/api/admin/plans');
  await page.reload();
  await back.focus();

  rmdirSync(repository);
  renameSync(`${repository}-away`, repository);
  await page.keyboard.press('Enter');
  await failed.getByText('solved since').waitFor();
  expect(await failed.textContent()).not.toContain('What to do:');
  await soon(() => advice.count()).toBe(0);

  const failure = { code: 'NO_SPACE', message: 'the database takes no more writes', hint: 'Free space.' };
  await page.route('**/api/admin/status', async (route) => {
    const json = await (await route.fetch()).json();
    await route.fulfill({ json: { ...json, overall_status: 'degraded', database_failure: failure } });
  });
  await page.reload();
  const sentence = page.locator('.sentence');
  await soon(() => sentence.textContent()).toMatch(
    /The snapshots are good, and the database takes no more writes\. Free space\.$/,
  );
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  expect(complaints).toEqual([]);
});

/** A backup by the plan, and a drill of 2.8 s. */
async function ranBefore(dataDir: string): Promise<void> {
  const nowMs = Date.now();
  const environment = { ...systemEnvironment, clock: { ...systemEnvironment.clock, nowMs: () => nowMs } };
  const jobs = await openJobs(environment, layoutOf(dataDir), undefined);
  const [made] = await jobs.listJobs();
  const [id, startedAtMs] = [newUlid(nowMs), nowMs - 2800];
  await jobs.createBackupJob({
    ...made!,
    id,
    kind: 'drill',
    status: 'running',
    startedAtMs,
    finishedAtMs: null,
    backupRecordId: null,
  });
  await jobs.updateBackupJob(id, { status: 'succeeded', finishedAtMs: nowMs });
  const times = { dueMs: nowMs, startedAtMs: nowMs, finishedAtMs: null };
  await jobs.claimTick({ id, scheduleId: 'nightly/backup', ...times, status: 'running', error: null });
  await jobs.endTick(id, 'succeeded', null);
  await jobs.close();
}

const backupAt = (atMs: number) => ({
  backup_id: newUlid(atMs),
  created_at_ms: atMs,
  engine: 'lsm',
  files: 1,
  total_bytes: 1,
  stored_bytes: 1,
  tool: null,
  problem: null as string | null,
  level: 'full',
  damaged: false,
  pinned: false,
  verified_at_ms: atMs as number | null,
});

/** The name of what has the focus. */
const focusOf = (page: Page) =>
  page.evaluate<string>(
    'document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent',
  );

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

  await fetch(`${server.url}/kv/later`, { method: 'PUT', body: 'value' });
  const restored = await rpc('restore', { method: 'POST' });
  await untilFinished(() => rpc(`restore/${restored.handle}`));
  const replaced = page.locator('.notice', { hasText: 'It was found damaged, and may hold writes' });
  const [undo] = readdirSync(join(dataDir, '.lifecycle/restore-backup'));
  const location = join(dataDir, '.lifecycle/restore-backup', undo!);
  await soon(() => replaced.locator('code').textContent()).toBe(
    `stillpoint salvage ${quoted(location)} --into ${quoted(`${dataDir}-${undo}`)}`,
  );
  await replaced.getByRole('button', { name: 'Undo it' }).click();
  await page.getByRole('dialog').getByText('What was there was found damaged').waitFor();
  expect(complaints).toEqual([]);
});
