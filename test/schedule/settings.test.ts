import { mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { initRepository } from '../../src/backup/repositories.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { checkSettings, listSchedules } from '../../src/schedule/index.ts';
import { readSettings } from '../../src/schedule/settings.ts';
import { plainDirectory } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

const good = {
  version: 1,
  stores: { orders: { data_dir: 'data', engine: 'files' } },
  repositories: { offsite: { destination: 'backups', encryption: { key_file: 'key' } } },
  plans: {
    nightly: {
      store: 'orders',
      repository: 'offsite',
      backup: '0 3 * * *',
      jitter: '10m',
      retention: { keep_daily: 7, keep_within: '2w' },
    },
  },
};

async function fileWith(content: unknown): Promise<string> {
  const file = join(await temporaryFolder(), 'stillpoint.json');
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  return file;
}

const changed = (path: string, value: unknown): unknown => {
  const copy = structuredClone(good) as never;
  const names = path.split('.');
  const last = names.pop()!;
  let at: Record<string, unknown> = copy;
  for (const name of names) at = at[name] as Record<string, unknown>;
  if (value === undefined) delete at[last];
  else at[last] = value;
  return copy;
};

describe('a settings file', () => {
  test('is read with its defaults; paths are meant from its folder', async () => {
    const file = await fileWith(good);
    const folder = join(file, '..');
    const { plans } = await readSettings(nodeFileSystem, file);
    expect(plans).toMatchObject([
      {
        name: 'nightly',
        store: { dataDir: join(folder, 'data'), engine: 'files' },
        repository: {
          destination: join(folder, 'backups'),
          compress: true,
          encryption: { keyFile: join(folder, 'key') },
        },
        time_zone: 'UTC',
        jitter: 600_000,
        catch_up: true,
        overdue_after: 3_600_000,
        retention: { keep_daily: 7, keep_within: 14 * 24 * 3_600_000 },
      },
    ]);
  });

  test.each([
    ['version', 2, 'version: must be 1'],
    ['plans.nightly.backup', '', 'plans.nightly.backup: must be five fields'],
    ['plans.nightly.backup', '0 0 31 2 *', 'plans.nightly.backup: must be due at some time'],
    ['plans.nightly.verify', 'now and then', 'plans.nightly.verify: must be five fields'],
    ['plans.nightly.time_zone', 'Berlin', 'plans.nightly.time_zone: must be a time zone'],
    ['plans.nightly.jitter', '10', 'plans.nightly.jitter: must be a time'],
    ['plans.nightly.store', 'other', 'plans.nightly.store: there is no store "other"'],
    ['plans.nightly.store', 'constructor', 'plans.nightly.store: there is no store "constructor"'],
    ['plans.nightly.repository', 'toString', 'plans.nightly.repository: there is no repository "toString"'],
    ['plans.nightly.repository', 'other', 'plans.nightly.repository: there is no repository "other"'],
    ['plans.nightly.retention', { keep_last: 0 }, 'plans.nightly.retention.keep_last'],
    ['plans.nightly.retention', { keep_lots: 1 }, 'keep_lots'],
    ['repositories.offsite.encryption', { passphrase: 'secret' }, 'is named, not given'],
    ['stores.orders.data_dir', undefined, 'stores.orders.data_dir'],
    ['plans', undefined, 'plans'],
  ])('with %s as %j is refused, with the place and the reason', async (path, value, message) => {
    const file = await fileWith(changed(path, value));
    await expect(readSettings(nodeFileSystem, file)).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining(message),
    });
  });

  test('that is no JSON, or is not there, is told', async () => {
    await expect(readSettings(nodeFileSystem, await fileWith('{'))).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
    });
    await expect(readSettings(nodeFileSystem, '/nowhere/stillpoint.json')).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });

  test('a secret in it is never repeated', async () => {
    const file = await fileWith(changed('repositories.offsite.encryption', { passphrase: 'hunter2' }));
    const error = await readSettings(nodeFileSystem, file).catch((problem) => problem);
    expect(JSON.stringify({ ...error, message: error.message })).not.toContain('hunter2');
  });

  test('the example of the documentation is one', async () => {
    const readme = readFileSync('src/schedule/README.md', 'utf8');
    const [, example] = /```json\n([\s\S]*?)```/.exec(readme)!;
    expect((await readSettings(nodeFileSystem, await fileWith(example))).plans).toHaveLength(1);
  });
});

describe('a check of the settings', () => {
  test('tells all that does not work, and leaves nothing behind', async () => {
    const file = await fileWith(changed('repositories.offsite.encryption', undefined));
    const folder = join(file, '..');
    mkdirSync(join(folder, 'data'));
    expect(await checkSettings(file)).toMatchObject({
      ok: false,
      problems: [{ where: 'repositories.offsite', code: 'DESTINATION_NOT_FOUND' }],
    });
    const dataDir = await plainDirectory();
    const ours = structuredClone(good) as typeof good;
    ours.stores.orders.data_dir = dataDir;
    const path = await fileWith({
      ...ours,
      repositories: { offsite: { destination: join(folder, 'repo') } },
    });
    await initRepository(join(folder, 'repo'));
    const before = JSON.stringify(await listSchedules(path));
    expect(await checkSettings(path)).toEqual({
      ok: true,
      stores: 1,
      repositories: 1,
      plans: 1,
      problems: [],
    });
    expect(JSON.parse(before).schedules).toMatchObject([
      { plan: 'nightly', action: 'backup', overdue: false },
    ]);
    // Since two days no service has run it.
    const then = Date.now() / 1000 - 2 * 24 * 3600;
    utimesSync(path, then, then);
    expect((await listSchedules(path)).schedules).toMatchObject([{ overdue: true }]);
  });
});

test('secrets in files are meant from the folder of the settings, too', async () => {
  const file = await fileWith({
    ...good,
    jobs: 'file:jobs',
    repositories: { offsite: { destination: 'backups', encryption: { passphrase: 'file:secrets/pass' } } },
    alerts: {
      webhook: { url: 'file:hook', secret: 'env:HOOK' },
      heartbeat: { url: 'file:/etc/beat', every: '5m' },
    },
  });
  const named = (path: string) => `file:${join(file, '..', path)}`;
  expect(await readSettings(nodeFileSystem, file)).toMatchObject({
    repositories: [{ encryption: { passphrase: named('secrets/pass') } }],
    plans: [{ jobs: named('jobs') }],
    alerts: {
      webhook: { url: named('hook'), secret: 'env:HOOK' },
      heartbeat: { url: 'file:/etc/beat', every: 300_000 },
    },
  });
});
