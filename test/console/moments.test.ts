import { expect, test } from 'vitest';
import { browserOf, openPage, soon } from '../support/browser.ts';
import { listening, smallLsm, untilFinished } from '../support/server.ts';

// What the page says when an answer comes late, twice or not at all, and when another tab was faster.

async function withSnapshot() {
  const { server } = await listening({ backend: smallLsm() });
  const post = async (path: string) =>
    (await fetch(`${server.url}/api/admin/${path}`, { method: 'POST' })).json() as Promise<{
      handle: string;
    }>;
  const put = (value: string) => fetch(`${server.url}/kv/key`, { method: 'PUT', body: value });
  const done = async (action: 'backup' | 'restore') => {
    const { handle } = await post(action);
    await untilFinished(async () => (await fetch(`${server.url}/api/admin/${action}/${handle}`)).json());
  };
  await put('first');
  await done('backup');
  return { url: server.url, put, done, value: async () => (await fetch(`${server.url}/kv/key`)).text() };
}

test('a server that stays silent is not "safe, just now", and an answer that comes late replaces no newer one', async (context) => {
  const browser = await browserOf(context);
  const { url } = await withSnapshot();
  const { page, complaints } = await openPage(browser, 'about:blank', {}, url);
  await page.clock.install();
  let held: (() => Promise<void>) | undefined;
  let isHolding = false;
  await page.route('**/api/admin/status', async (route) => {
    if (!isHolding) return route.continue();
    isHolding = false;
    const response = await route.fetch();
    const old = await response.json();
    Object.assign(old.safety, { safe: false, problems: ['this is old'] });
    held = () => route.fulfill({ response, json: old });
  });
  complaints.length = 0;
  await page.goto(url);
  const sentence = page.locator('.sentence');
  await soon(() => sentence.textContent()).toMatch(/^✔ Safe: /);

  isHolding = true;
  await page.clock.fastForward('00:06');
  await soon(() => held).toBeDefined();
  await page.clock.fastForward('00:11');
  await soon(() => sentence.textContent()).toMatch(/^! Not known now\. \d+ s ago: Safe: /);
  expect(await page.getByRole('alert').textContent()).toBe('No answer from the server.');
  await page.clock.fastForward('02:00');
  await soon(() => sentence.textContent()).toMatch(/^! Not known now\. 2 min \d+ s ago: Safe: .*taken 2 min/);

  await page.getByRole('button', { name: 'Verify all snapshots' }).click(); // looks again when it is done
  await soon(() => sentence.textContent()).toMatch(/^✔ Safe: /);
  const answered = page.waitForResponse('**/api/admin/status');
  await held!();
  await (await answered).finished();
  await page.clock.fastForward('00:01');
  expect(await sentence.textContent()).toMatch(/^✔ Safe: /);
  expect(complaints).toEqual([]);
});

test('an undo in two tabs is done once', async (context) => {
  const browser = await browserOf(context);
  const { url, put, done, value } = await withSnapshot();
  await put('second');
  await done('restore');
  const tabs = [await openPage(browser, url), await openPage(browser, url)];
  for (const { page } of tabs) await page.getByRole('button', { name: 'Undo it' }).click();
  const [first, second] = tabs.map(({ page }) =>
    page.getByRole('button', { name: 'Bring back what was replaced' }),
  );
  await first!.click();
  await soon(value).toBe('second');
  await second!.click();
  await tabs[1]!.page.getByText('there is no undo folder').waitFor();
  expect(await value()).toBe('second');
  expect(tabs.flatMap(({ complaints }) => complaints)).toEqual([]);
});

test('a question that a busy server cannot answer yet is asked again', async (context) => {
  const browser = await browserOf(context);
  const { url } = await withSnapshot();
  const { page, complaints } = await openPage(browser, url);
  let asked = 0;
  await page.route('**/api/admin/prune', (route) => {
    if (asked++ > 0) return route.continue();
    const error = { code: 'CONFLICT', message: 'a restore is running', hint: 'Wait.', correlation_id: 'c' };
    return route.fulfill({ status: 409, json: { error } });
  });
  await page.getByRole('button', { name: 'Remove old snapshots …' }).click();
  await page.getByText('a restore is running').waitFor();
  await page.getByText('None would go.').waitFor();
  const keep = page.getByLabel('The newest that stay:');
  await keep.fill('');
  await page.getByText('How many stay is a whole number').waitFor();
  await keep.fill('1');
  await page.getByText('None would go.').waitFor();
  expect(complaints).toEqual([]);
});
