import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, onTestFinished, test, vi } from 'vitest';
import { RunControl } from '../../src/env/run-control.ts';
import { BackupCoordinator, openLsm, snapshotClassicLevel } from '../../src/index.ts';
import { leveldbBackend } from '../../src/server/index.ts';
import { injected, smallLsm, untilFinished } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';

/** What the runs of this test send past the page cache. */
function watchPace(): string[] {
  const gone: string[] = [];
  const { goPastCache } = RunControl.prototype;
  const spy = vi.spyOn(RunControl.prototype, 'goPastCache').mockImplementation(function (
    this: RunControl,
    ...given
  ) {
    gone.push(given[0]);
    goPastCache.apply(this, given);
  });
  onTestFinished(() => spy.mockRestore());
  return gone;
}

test('a folder of files, which no host waits for, is copied at full speed', async () => {
  const dataDir = await temporaryFolder();
  writeFileSync(join(dataDir, 'file'), 'content');
  const gone = watchPace();
  await new BackupCoordinator({ dataDir, engine: 'files' }).backup();
  expect(gone).toEqual([]);
});

test('a database that is open in this process is copied quietly, unless told otherwise', async () => {
  const root = await temporaryFolder();
  const lsm = await openLsm(join(root, 'lsm'));
  const level = new ClassicLevel(join(root, 'level'));
  await level.put('key', 'value');
  const gone = watchPace();
  const held = new BackupCoordinator({
    dataDir: join(root, 'lsm'),
    engine: 'lsm',
    checkpoint: () => lsm.hold(),
  });
  await held.backup();
  expect(gone).toEqual(['all']);
  await held.backup({ pace: 'fast' });
  expect(gone).toEqual(['all']);
  await snapshotClassicLevel(level);
  expect(gone).toEqual(['all', 'all']);
  await snapshotClassicLevel(level, { pace: 'fast' });
  expect(gone).toEqual(['all', 'all']);
  await level.close();
  await lsm.close();
});

test.each([
  ['lsm', smallLsm],
  ['leveldb', leveldbBackend],
])(
  'a server of %s is copied quietly, also under a lease, which ends before its tables are copied',
  async (_, backend) => {
    const { rpc } = await injected({ backend: backend() });
    await rpc('PUT', '/kv/a', 'value');
    const gone = watchPace();
    const take = async (body?: object) => {
      const { json, status } = await rpc('POST', '/api/admin/backup', body);
      expect(status).toBe(200);
      await untilFinished(async () => (await rpc('GET', `/api/admin/backup/${json.handle}`)).json);
    };
    await take();
    expect(gone).toEqual(['all']);
    const { epoch } = (await rpc('POST', '/api/admin/quiesce', { run: 'run-1', ttl_ms: 60_000 })).json;
    await take({ epoch });
    expect(gone).toEqual(['all', 'all']);
  },
);
