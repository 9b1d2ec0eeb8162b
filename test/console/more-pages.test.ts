import { mkdirSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { BackupCoordinator } from '../../src/index.ts';
import { startServer } from '../../src/server/index.ts';
import { accessibilityOf, browserOf, keepWriting, openPage, soon } from '../support/browser.ts';
import { startConsole } from '../support/console.ts';
import { listening, smallLsm } from '../support/server.ts';
import { withPlans } from '../support/server-plans.ts';
import { makeSmallLsm } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

// More pages in a real browser: of a server that runs plans, and of `stillpoint console`. What takes long is in the long run.

/** A data directory with one key, whose database is closed. */
async function closedDatabase(name: string): Promise<string> {
  const dataDir = join(await temporaryFolder(), name);
  const server = await startServer({ dataDir, backend: smallLsm(), audit: () => {}, log: () => {} });
  await fetch(`${server.url}/kv/key`, { method: 'PUT', body: 'before' });
  await server.close();
  return dataDir;
}

test.for(perTier([], [3]))(
  '%i folders: a list first, then each; what is open elsewhere is not replaced',
  async (_, context) => {
    const browser = await browserOf(context);
    const { server, dataDir: open } = await listening({ backend: smallLsm() });
    await fetch(`${server.url}/kv/key`, { method: 'PUT', body: 'before' });
    keepWriting(server.url, {});
    const closed = await closedDatabase('<img src=x onerror=alert(1)>');
    const empty = join(await temporaryFolder(), 'empty');
    mkdirSync(empty);
    const console = await startConsole([open, closed, empty]);
    expect((await fetch(`${console.url}/api/admin/folders`)).status).toBe(401);
    expect((await fetch(`${console.url}/folder/1/api/admin/status`)).status).toBe(401);
    expect((await fetch(`${console.url}/nothing`)).status).toBe(401);

    const { page, complaints } = await openPage(
      browser,
      `${console.url}/#key=${console.key}`,
      {},
      console.url,
    );
    await page.getByText('3 of 3 not safe').waitFor();
    expect(page.url()).toBe(`${console.url}/`);
    expect(await page.content()).not.toContain(console.key);
    expect(await page.evaluate('JSON.stringify({ ...localStorage }) + document.cookie')).not.toContain(
      console.key,
    );
    await page.getByText(`${empty} is no data directory`).waitFor();
    expect(await accessibilityOf(page)).toEqual([]);

    // Open in another process: a snapshot is taken from outside, and nothing is replaced.
    await page.getByRole('link', { name: open }).click();
    await page.getByRole('button', { name: 'Snapshot now' }).click();
    await soon(() => page.locator('.sentence').textContent()).toContain('Safe:');
    await page.getByRole('button', { name: /^Restore ts-/ }).click();
    expect(await page.getByRole('dialog').textContent()).toContain('nothing is replaced');
    await page.getByRole('button', { name: 'Replace the data' }).click();
    await page.getByText(/the last restore failed: .*is open/).waitFor();
    expect((await fetch(`${server.url}/kv/key`)).status).toBe(200);

    await page.getByRole('link', { name: 'All folders' }).click();
    await page.getByText('2 of 3 not safe').waitFor();
    expect(await page.locator('img').count()).toBe(0);
    await page.getByRole('link', { name: closed }).click();
    await page.getByRole('button', { name: 'Snapshot now' }).click();
    await soon(() => page.locator('.sentence').textContent()).toContain('Safe:');
    await page.getByRole('button', { name: 'Verify all snapshots' }).click();
    await page.getByText('1 snapshot read and whole').waitFor();
    await page.getByRole('button', { name: /^Restore ts-/ }).click();
    await page.getByRole('button', { name: 'Replace the data' }).click();
    await page.getByText('the last restore was completed').waitFor();
    await page.getByRole('button', { name: 'Undo it' }).waitFor();
    expect(complaints).toEqual([]);

    const { code, stderr } = await console.stop();
    expect(code).toBe(0);
    expect(stderr).not.toContain(console.key);
    const actions = stderr.split('\n').flatMap((line) => /"action":"(\w+)"/.exec(line)?.[1] ?? []);
    expect(actions).toEqual(expect.arrayContaining(['authenticate', 'backup', 'restore']));
  },
);

test('old snapshots are removed after a dry run that says why each stays or goes', async (context) => {
  const browser = await browserOf(context);
  const dir = await closedDatabase('data');
  const console = await startConsole([dir]);
  const { page, complaints } = await openPage(browser, `${console.url}/#key=${console.key}`, {}, console.url);
  const rows = page.locator('.snapshots li');
  const trend = page.getByRole('heading', { name: 'How is it going?' });
  for (const count of [1, 2, 3]) {
    await page.getByRole('button', { name: 'Snapshot now' }).click();
    await soon(() => rows.count()).toBe(count);
    // One point is no line.
    if (count === 1) expect(await trend.count()).toBe(0);
  }
  await trend.waitFor();
  await page.getByText('As a table').first().click();
  const figures = page.getByRole('region', { name: 'Size of each snapshot' });
  await soon(() => figures.locator('tbody tr').count()).toBe(3);
  await page.getByRole('button', { name: 'Remove old snapshots …' }).click();
  await page.getByText('None would go.').waitFor();
  await page.getByLabel('The newest that stay:').fill('1');
  await page.getByText('2 snapshots would go').waitFor();
  expect(await page.locator('dialog tbody tr').count()).toBe(3);
  expect(await accessibilityOf(page)).toEqual([]);
  expect(await rows.count()).toBe(3);
  // Somebody else takes one meanwhile, so another would go that was said to stay.
  await new BackupCoordinator({ dataDir: dir }).backup();
  await page.getByRole('button', { name: 'Remove 2 snapshots for good' }).click();
  await page.getByRole('alert').getByText('what would go is not what was expected').waitFor();
  await soon(() => rows.count()).toBe(4);
  await page.getByRole('button', { name: 'Remove old snapshots …' }).click();
  await page.getByLabel('The newest that stay:').fill('2');
  await page.getByRole('button', { name: 'Remove 2 snapshots for good' }).click();
  await page.getByText('2 snapshots removed').waitFor();
  await soon(() => rows.count()).toBe(2);
  expect(complaints).toEqual([]);
});

const DUE = '0 3 1 1 *';

test.for(perTier([], ['nightly']))(
  'plan %s: shows what is due, backs up under writes, drills, and restores a backup in two steps',
  async (_, context) => {
    const browser = await browserOf(context);
    const given = await withPlans({ verify: DUE, drill: DUE });
    const { server } = await listening({ ...given, backend: smallLsm() });
    const put = (value: string) => fetch(`${server.url}/kv/key`, { method: 'PUT', body: value });
    const value = async () => (await fetch(`${server.url}/kv/key`)).text();
    await put('before');
    keepWriting(server.url, {});
    const { page, complaints } = await openPage(browser, server.url);
    const numbers = page.locator('.numbers');
    await soon(() => numbers.textContent()).toContain('plan nightly');
    expect(await numbers.textContent()).toContain('in a repository: none yet');

    await page.getByRole('button', { name: 'Back up now, plan nightly' }).click();
    const badges = page.locator('.badge');
    await soon(() => badges.allTextContents()).toContain('backup in offsite');
    expect(await badges.allTextContents()).toContain('not verified');
    await page.getByRole('button', { name: 'Drill: restore it for a trial, plan nightly' }).click();
    await soon(() => numbers.textContent()).toContain('by a drill');
    await soon(() => badges.allTextContents()).toContain('verified');

    await put('after');
    await page.getByRole('button', { name: /^Restore .* from offsite/ }).click();
    expect(await page.getByRole('dialog').textContent()).toContain('is downloaded and proven first');
    await page.keyboard.press('Escape');
    expect(await value()).toBe('after');
    await page.getByRole('button', { name: /^Restore .* from offsite/ }).click();
    await page.getByRole('button', { name: 'Replace the data' }).click();
    await soon(value).toBe('before');
    expect(await accessibilityOf(page)).toEqual([]);

    // A repository that is gone is told, and is not taken for an empty one.
    const repository = join(dirname(given.dataDir), 'repository');
    renameSync(repository, `${repository}-away`);
    mkdirSync(repository);
    await page.reload();
    const problem = page.getByText('The backups in offsite cannot be shown');
    await problem.waitFor();
    expect(await problem.textContent()).toContain('is its disk mounted?');
    expect(complaints).toEqual([]);
  },
);

test.for(perTier([], [53, 170]))(
  'of %i snapshots the newest fifty stand open, and the rest can be opened',
  async (count, context) => {
    const browser = await browserOf(context);
    const dataDir = await temporaryFolder();
    await makeSmallLsm(dataDir);
    const backup = new BackupCoordinator({ dataDir });
    for (let i = 0; i < count; i++) await backup.backup({ level: 'files' });
    const { server } = await listening({ dataDir, backend: smallLsm() });
    const { page, complaints } = await openPage(browser, server.url);
    const rows = page.locator('.snapshots > li');
    await soon(() => rows.count()).toBe(50);
    const folded = page.locator('details:not([open]) > summary', { hasText: 'snapshot' });
    while ((await folded.count()) > 0) await folded.first().click();
    await soon(() => rows.count()).toBe(count);
    expect(complaints).toEqual([]);
  },
);
