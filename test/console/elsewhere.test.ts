import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { BackupCoordinator } from '../../src/coordinator/backup.ts';
import { planFleet, runFleet } from '../../src/fleet/index.ts';
import { accessibilityOf, browserOf, openPage, soon } from '../support/browser.ts';
import { startConsole } from '../support/console.ts';
import { fleetOf, fleetServers } from '../support/fleet-servers.ts';
import { needsAll } from '../support/needs.ts';
import { hasS3, newS3Place } from '../support/s3.ts';
import { smallLsm } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

// `stillpoint console` of a repository and of a fleet, in a real browser.

/** Backups of a folder with one letter, whose name is markup; the repository is encrypted. */
async function withBackups(repository: string, count: number) {
  const root = await temporaryFolder();
  const dataDir = join(root, '<img src=x onerror=alert(1)>');
  mkdirSync(dataDir);
  const keyFile = join(root, 'key');
  const encryption = { keyFile };
  await initRepository(repository, { encryption });
  const coordinator = new BackupCoordinator({ dataDir, engine: 'files' });
  for (let i = 0; i < count; i++) {
    writeFileSync(join(dataDir, 'letter'), `number ${i}`);
    await backUp(dataDir, { to: repository, coordinator, encryption });
  }
  return { root, keyFile, secret: readFileSync(keyFile, 'utf8').trim() };
}

test.for(
  perTier(
    [{ count: 2, in: hasS3 ? 'a bucket' : 'a folder' }],
    [
      { count: 2, in: 'a folder' },
      { count: 12, in: 'a bucket' },
    ],
  ),
)(
  'a repository in $in: its $count backups are verified, drilled and restored into a folder',
  async (given, context) => {
    if (given.in === 'a bucket') needsAll(context, 'an S3 server (S3_ENDPOINT)', hasS3, false);
    const browser = await browserOf(context);
    const repository =
      given.in === 'a bucket' ? await newS3Place() : join(await temporaryFolder(), 'repository');
    const { root, keyFile, secret } = await withBackups(repository, given.count);
    const console = await startConsole(['--from', repository, '--key-file', keyFile]);
    const { url, key } = console;
    expect((await fetch(`${url}/api/admin/repository`)).status).toBe(401);
    const { page, complaints } = await openPage(browser, `${url}/#key=${key}`, {}, url);
    const sentence = page.locator('.sentence');
    await soon(() => sentence.textContent()).toContain('Not known');
    const rows = page.locator('.snapshots li');
    expect(await rows.count()).toBe(given.count);
    expect(await page.locator('img').count()).toBe(0);

    await page
      .getByRole('button', { name: /^Verify / })
      .first()
      .click();
    await page.getByText('Read in full and whole').waitFor();
    await soon(() => sentence.textContent()).toContain('Yes');
    await page
      .getByRole('button', { name: /^Drill / })
      .last()
      .click();
    await page.getByText('Restored for a trial in').waitFor();

    await page
      .getByRole('button', { name: /^Restore / })
      .first()
      .click();
    const yes = page.getByRole('button', { name: 'Restore it into this folder' });
    expect(await yes.isDisabled()).toBe(true);
    expect(await accessibilityOf(page), 'the question').toEqual([]);
    // The backup stays where it is: a folder that is in use is refused.
    await page.getByLabel('The folder, from the root:').fill(root);
    await yes.click();
    await page.getByText(/The last restore.* empty/).waitFor();
    await page
      .getByRole('button', { name: /^Restore / })
      .first()
      .click();
    await page.getByLabel('The folder, from the root:').fill(join(root, 'restored'));
    await yes.click();
    await page.getByText('and proven').waitFor();
    expect(readFileSync(join(root, 'restored/letter'), 'utf8')).toBe(`number ${given.count - 1}`);

    await page.getByRole('button', { name: 'What would a rule keep? …' }).click();
    for (const name of ['days', 'weeks', 'months']) await page.getByLabel(name).fill('');
    await page.getByLabel('newest').fill('1');
    // The newest, and those that were verified.
    await soon(() => page.locator('dialog [role=status]').textContent()).toMatch(/would stay, \d+ would go/);
    expect(await page.locator('dialog tbody tr').count()).toBe(given.count);
    expect(await accessibilityOf(page), 'the rule').toEqual([]);
    await page.getByRole('button', { name: 'Close' }).click();
    expect(await rows.count()).toBe(given.count);
    await page
      .getByRole('button', { name: /^Copy as command/ })
      .first()
      .click();
    expect(await page.locator('code').first().textContent()).toContain('stillpoint backup restore');
    expect(await accessibilityOf(page), 'the page').toEqual([]);

    const content =
      (await page.content()) + page.url() + (await page.evaluate('JSON.stringify(sessionStorage)'));
    expect(content).not.toContain(secret);
    expect(page.url() + (await page.content())).not.toContain(key);
    expect(complaints).toEqual([]);
    const { code, stderr } = await console.stop();
    expect(code).toBe(0);
    expect(stderr).not.toContain(secret);
    expect(stderr).not.toContain(key);
    const actions = [...stderr.matchAll(/"action":"(\w+)"/g)].map(([, action]) => action);
    const twice = ['verify', 'drill', 'restore', 'restore'].flatMap((action) => [action, action]);
    expect(actions).toEqual(['authenticate', ...twice]);
  },
);

test('an errand of a repository that is gone is shown to its end, and nothing is said to be known', async (context) => {
  const browser = await browserOf(context);
  const repository = join(await temporaryFolder(), 'repository');
  const { keyFile } = await withBackups(repository, 1);
  const console = await startConsole(['--from', repository, '--key-file', keyFile]);
  const { page, complaints } = await openPage(browser, `${console.url}/#key=${console.key}`, {}, console.url);
  const sentence = page.locator('.sentence');
  await soon(() => sentence.textContent()).toContain('Not known: no backup');
  await page.getByRole('button', { name: 'What would a rule keep? …' }).click();
  const rule = page.locator('dialog code', { hasText: '--keep-daily 7' });
  await soon(() => rule.textContent()).toMatch(/^stillpoint backup prune --from .* --store .* --key-file '/);
  await page.getByRole('button', { name: 'Close' }).click();
  renameSync(repository, `${repository}-away`);
  await page.getByRole('button', { name: /^Verify / }).click();
  await page.getByText(/Nothing\. The last verify, of .*: /).waitFor();
  await page.getByText('The repository cannot be read.').waitFor();
  await soon(() => sentence.textContent()).toContain('Not known now.');
  renameSync(`${repository}-away`, repository);
  await page.getByRole('button', { name: 'Read it again' }).click();
  await soon(() => page.getByText('The repository cannot be read.').count()).toBe(0);
  expect(complaints).toEqual([]);
});

test.for(perTier([], [3]))(
  'a fleet of %i: nodes by unit, leases, and which backups are whole',
  async (count, context) => {
    const browser = await browserOf(context);
    const key = 'a-key-of-at-least-sixteen-characters';
    const ids = Array.from({ length: count }, (_, i) => `node-${i}`);
    const servers = await fleetServers(ids, () => ({ backend: smallLsm(), apiKey: key }));
    const headers = { 'x-api-key': key };
    for (const { url } of servers) await fetch(`${url}/kv/key`, { method: 'PUT', body: 'value', headers });
    const root = await temporaryFolder();
    writeFileSync(join(root, 'key'), key, { mode: 0o600 });
    const { fleet, nodes } = fleetOf(servers);
    const units = [
      { id: 'left', nodes: ids.slice(0, 1) },
      { id: 'right', nodes: ids.slice(1) },
    ];
    const file = join(root, 'fleet.json');
    writeFileSync(
      file,
      JSON.stringify({ fleet, nodes: nodes.map((node) => ({ ...node, key: 'file:key' })), units }),
    );
    const sets = join(root, 'sets');
    mkdirSync(sets);
    for (let i = 0; i < 9; i++) await planFleet(file, { layoutDir: join(sets, `older-${i}`) });
    await runFleet(file, { layoutDir: join(sets, 'first'), keepSnapshots: true });
    // One that was begun and not ended.
    await runFleet(file, { layoutDir: join(sets, 'second'), maxSteps: 2, keepSnapshots: true });
    const console = await startConsole(['--fleet', file, '--sets', sets]);
    const { page, complaints } = await openPage(
      browser,
      `${console.url}/#key=${console.key}`,
      {},
      console.url,
    );
    await page.getByText('All are safe.').waitFor();
    expect(await page.locator('h3').allTextContents()).toEqual([
      'left (1 node)',
      `right (${count - 1} nodes)`,
    ]);
    const summaries = page.locator('summary');
    await page.getByText(/^1 older backup in .* is not shown\.$/).waitFor();
    await soon(async () => (await summaries.allTextContents()).slice(0, 2)).toEqual([
      expect.stringContaining('not complete'),
      expect.stringMatching(/first complete when it ended \(begun .* 2 of 2 units complete\)/),
    ]);
    // The run that ended too early still holds a node: that is seen, and until when.
    await page
      .getByText(/Held by run .*; its lease ends in/)
      .first()
      .waitFor();
    await servers.at(-1)!.close();
    await page.getByText(`1 of ${count} not safe.`).waitFor();
    await page.getByText('not known').waitFor();
    expect(await accessibilityOf(page)).toEqual([]);
    expect(await page.content()).not.toContain(key);
    expect(complaints).toEqual([]);
    expect((await console.stop()).stderr).not.toContain(key);
  },
);
