import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, expect, onTestFinished, type TestContext, test } from 'vitest';
import { needsPrograms } from '../support/needs.ts';
import { listening, smallLsm } from '../support/server.ts';
import { perTier } from '../support/tier.ts';

// The page in a real browser, against a real server.

const KEY = 'a-key-of-at-least-sixteen-characters';
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core'), 'utf8');

let started: Promise<Browser> | undefined;
afterAll(async () => (await started)?.close());

async function browserOf(context: TestContext): Promise<Browser> {
  needsPrograms(context, 'chromium');
  started ??= chromium.launch({
    executablePath: execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim(),
    args: [
      ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
      ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
    ],
  });
  return started;
}

/** A page that has to stay without complaints: of its scripts, of the policy for its content, of requests to elsewhere. */
async function openPage(
  browser: Browser,
  url: string,
  options = {},
): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage(options);
  const complaints: string[] = [];
  page.on('pageerror', ({ message }) => complaints.push(message));
  page.on('console', (message) => {
    // An answer that is an error is told by the page itself.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
      complaints.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith('data:')) complaints.push(request.url());
  });
  await page.goto(url);
  return { page, complaints };
}

interface Violation {
  readonly id: string;
  readonly nodes: readonly { readonly target: readonly string[] }[];
}

async function accessibilityOf(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  const { violations } = (await page.evaluate('axe.run()')) as { violations: Violation[] };
  return violations.map(({ id, nodes }) => [id, ...nodes.map(({ target }) => target.join(' '))].join(' '));
}

/** Writes one key after the other until the test ends. */
function keepWriting(url: string, headers: Record<string, string>): void {
  let isOver = false;
  const writing = (async () => {
    for (let i = 0; !isOver; i++) {
      await fetch(`${url}/kv/counter`, { method: 'PUT', body: String(i), headers }).catch(() => {});
    }
  })();
  onTestFinished(async () => {
    isOver = true;
    await writing;
  });
}

test('takes a snapshot under writes, verifies it, restores it in two steps, and takes that back', async (context) => {
  const browser = await browserOf(context);
  const { server } = await listening({ backend: smallLsm() });
  const put = (value: string) => fetch(`${server.url}/kv/key`, { method: 'PUT', body: value });
  const value = async () => (await fetch(`${server.url}/kv/key`)).text();
  await put('before');
  keepWriting(server.url, {});
  const { page, complaints } = await openPage(browser, server.url);
  const sentence = page.locator('.sentence');
  await expect.poll(() => sentence.textContent()).toContain('Not safe');
  await page.getByRole('button', { name: 'Snapshot now' }).click();
  await expect.poll(() => sentence.textContent(), { timeout: 15_000 }).toContain('Safe:');
  expect(await page.locator('.badge').allTextContents()).toEqual(['proven']);

  await page.getByRole('button', { name: 'Copy as command: a snapshot' }).click();
  expect(await page.locator('code').textContent()).toBe(`curl -X POST '${server.url}/api/admin/backup'`);

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
  await expect.poll(value, { timeout: 15_000 }).toBe('before');
  const undo = page.getByRole('button', { name: 'Undo it' });
  await undo.click({ timeout: 15_000 });
  await page.getByRole('button', { name: 'Bring back what was replaced' }).click();
  await expect.poll(value, { timeout: 15_000 }).toBe('after');
  // The restore was measured.
  await expect
    .poll(() => page.locator('.numbers').textContent(), { timeout: 15_000 })
    .not.toContain('not measured');
  expect(complaints).toEqual([]);
});

test('damage is told in the sentence, at the snapshot and by a verify, and markup in it is text', async (context) => {
  const browser = await browserOf(context);
  const { server, dataDir } = await listening({ backend: smallLsm() });
  await fetch(`${server.url}/kv/key`, { method: 'PUT', body: 'value' });
  const { page, complaints } = await openPage(browser, server.url);
  await page.getByRole('button', { name: 'Snapshot now' }).click();
  await page.locator('.badge').waitFor({ timeout: 15_000 });
  const folder = join(dataDir, '.lifecycle/backup');
  const name = readdirSync(folder).find((entry) => entry.startsWith('ts-'))!;
  writeFileSync(join(folder, name, '<img src=x onerror=alert(1)>'), 'not of the snapshot');
  await page.getByRole('button', { name: /^Verify ts-/ }).click();
  const told = page.getByRole('alert');
  await told.waitFor();
  expect(await told.textContent()).toContain('<img src=x onerror=alert(1)>');
  await expect.poll(() => page.locator('.sentence').textContent(), { timeout: 15_000 }).toContain('Not safe');
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
  expect(page.url()).not.toContain(KEY);
  expect(await page.content()).not.toContain(KEY);
  expect(await page.evaluate('JSON.stringify({ ...localStorage }) + document.cookie')).not.toContain(KEY);
  await page.reload();
  await page.getByRole('heading', { name: 'Am I safe?' }).waitFor();
  // Another tab knows nothing of it.
  const { page: other } = await openPage(browser, server.url);
  await other.getByLabel('API key of this server').waitFor();
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
  await first.page.locator('.badge').waitFor({ timeout: 15_000 });
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
