import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { accessibilityOf, browserOf, keepWriting, openPage, soon } from '../support/browser.ts';
import { listening, smallLsm } from '../support/server.ts';
import { perTier } from '../support/tier.ts';

// The page in a real browser, against a real server.

const KEY = 'ein-Schlüssel-密钥-of-sixteen-letters';

test('takes a snapshot under writes, verifies it, restores it in two steps, and takes that back', async (context) => {
  const browser = await browserOf(context);
  const { server } = await listening({ backend: smallLsm() });
  const put = (value: string) => fetch(`${server.url}/kv/key`, { method: 'PUT', body: value });
  const value = async () => (await fetch(`${server.url}/kv/key`)).text();
  await put('before');
  keepWriting(server.url, {});
  const { page, complaints } = await openPage(browser, server.url);
  const sentence = page.locator('.sentence');
  await soon(() => sentence.textContent()).toContain('Not safe');
  await page.getByRole('button', { name: 'Snapshot now' }).click();
  await soon(() => sentence.textContent()).toContain('Safe:');
  expect(await page.locator('.badge').allTextContents()).toEqual(['proven']);

  await page.getByRole('button', { name: 'Copy as command: a snapshot' }).click();
  expect(await page.locator('.copy code').textContent()).toBe(
    `curl -X POST '${server.url}/api/admin/backup'`,
  );

  await page.getByRole('button', { name: /^Verify ts-/ }).click();
  await page.getByText(/read( from the disk itself)? and whole/).waitFor();

  await put('after');
  await page.getByRole('button', { name: /^Restore ts-/ }).click();
  const question = page.getByRole('dialog');
  expect(await question.textContent()).toContain('is kept in an undo folder');
  await page.keyboard.press('Escape');
  await question.waitFor({ state: 'detached' });
  expect(await value()).toBe('after');

  await page.getByRole('button', { name: /^Restore ts-/ }).click();
  await page.getByRole('button', { name: 'Replace the data' }).click();
  await soon(value).toBe('before');
  const undo = page.getByRole('button', { name: 'Undo it' });
  await undo.click();
  await page.getByRole('button', { name: 'Bring back what was replaced' }).click();
  await soon(value).toBe('after');
  // The restore was measured.
  await soon(() => page.locator('.numbers').textContent()).not.toContain('not measured');
  expect(complaints).toEqual([]);
});

test('damage is told in the sentence, at the snapshot and by a verify, and markup in it is text', async (context) => {
  const browser = await browserOf(context);
  const { server, dataDir } = await listening({ backend: smallLsm() });
  await fetch(`${server.url}/kv/key`, { method: 'PUT', body: 'value' });
  const { page, complaints } = await openPage(browser, server.url);
  await page.getByRole('button', { name: 'Snapshot now' }).click();
  await page.locator('.badge').waitFor();
  const folder = join(dataDir, '.lifecycle/backup');
  const name = readdirSync(folder).find((entry) => entry.startsWith('ts-'))!;
  writeFileSync(join(folder, name, '<img src=x onerror=alert(1)>'), 'not of the snapshot');
  await page.getByRole('button', { name: /^Verify ts-/ }).click();
  const told = page.getByRole('alert');
  await told.waitFor();
  expect(await told.textContent()).toContain('<img src=x onerror=alert(1)>');
  await soon(() => page.locator('.sentence').textContent()).toContain('Not safe');
  const advice = page.getByRole('region', { name: 'What can be done?' });
  expect(await advice.textContent()).toContain(`stillpoint snapshot ${dataDir} --full`);
  expect(await page.locator('.badge').allTextContents()).toEqual(['damaged']);
  expect(await page.locator('img').count()).toBe(0);
  expect(complaints).toEqual([]);
});

test('asks for the API key, and keeps it out of the URL and of what outlives the tab', async (context) => {
  const browser = await browserOf(context);
  const { server } = await listening({ backend: smallLsm(), apiKey: KEY });
  const { page, complaints } = await openPage(browser, server.url);
  const field = page.getByLabel('API key of this server');
  await field.fill('another-key-of-sixteen-characters');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').waitFor();
  await field.fill(KEY);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Am I safe?' }).waitFor();
  expect(decodeURI(page.url())).not.toContain(KEY);
  expect(await page.content()).not.toContain(KEY);
  expect(await page.evaluate('JSON.stringify({ ...localStorage }) + document.cookie')).not.toContain(KEY);
  await page.reload();
  await page.getByRole('heading', { name: 'Am I safe?' }).waitFor();
  // Another tab knows nothing of it.
  const { page: other } = await openPage(browser, server.url);
  await other.getByLabel('API key of this server').waitFor();
  // The address that was printed, pasted once more.
  await page.evaluate(`location.hash = 'key=${KEY}'`);
  await soon(() => decodeURI(page.url())).not.toContain(KEY);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('API key of this server').waitFor();
  expect(await page.evaluate('sessionStorage.length')).toBe(0);
  expect(complaints).toEqual([]);
  // The page itself holds nothing; everything else asks for the key as before.
  const page0 = await fetch(server.url);
  expect(page0.headers.get('content-security-policy')).toContain("default-src 'none'");
  expect((await fetch(`${server.url}/api/admin/status`)).status).toBe(401);
  expect((await fetch(`${server.url}/console/other`)).status).toBe(401);
});

test('is usable in light and dark, on a phone and on a desk, by keyboard and screen reader', async (context) => {
  const browser = await browserOf(context);
  const { server } = await listening({ backend: smallLsm() });
  await fetch(`${server.url}/kv/key`, { method: 'PUT', body: 'value' });
  const first = await openPage(browser, server.url);
  await first.page.getByRole('button', { name: 'Snapshot now' }).click();
  await first.page.locator('.badge').waitFor();
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const width of perTier(colorScheme === 'light' ? [1280] : [360], [360, 768, 1280])) {
      const { page } = await openPage(browser, server.url, { colorScheme, viewport: { width, height: 800 } });
      await page.locator('.badge').waitFor();
      expect(await accessibilityOf(page), `${colorScheme} ${width}`).toEqual([]);
      const wide = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
      expect(wide, `nothing to scroll sideways at ${width}`).toBeLessThanOrEqual(0);
      if (width === 360) {
        await page.getByRole('button', { name: /^Restore ts-/ }).focus();
        await page.keyboard.press('Enter');
        await page.getByRole('dialog').waitFor();
        expect(await accessibilityOf(page), 'the question').toEqual([]);
      }
      await page.close();
    }
  }
});
