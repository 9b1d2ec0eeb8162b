import { mkdirSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { accessibilityOf, browserOf, keepWriting, openPage, soon } from '../support/browser.ts';
import { listening, smallLsm } from '../support/server.ts';
import { withPlans } from '../support/server-plans.ts';

// The page of a server that runs plans: backups off the machine, in a real browser.

const DUE = '0 3 1 1 *';

test('shows what is due, backs up under writes, drills, and restores a backup in two steps', async (context) => {
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
  expect(await numbers.textContent()).toContain('off the machine: none yet');

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
  await page.getByText('The backups in offsite cannot be shown').waitFor();
  expect(complaints).toEqual([]);
});
