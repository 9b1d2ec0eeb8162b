import { expect, test } from 'vitest';
import { BackupCoordinator } from '../../src/index.ts';
import { browserOf, openPage, soon } from '../support/browser.ts';
import { listening, smallLsm } from '../support/server.ts';
import { makeSmallLsm } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

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
