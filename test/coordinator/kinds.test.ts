import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BackupCoordinator, Snapshots } from '../../src/index.ts';
import { stillpoint } from '../support/command.ts';
import { temporaryFolder } from '../support/temp.ts';

test('archives and exports are listed and pruned, each kind by itself', async () => {
  const dir = await temporaryFolder();
  writeFileSync(join(dir, 'file'), 'content');
  const coordinator = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const names: Record<string, string[]> = {};
  for (const kind of ['backup', 'archive', 'export'] as const) {
    names[kind] = [];
    for (let i = 0; i < 3; i++) names[kind].push((await coordinator.backup({ kind })).name);
  }
  const handle = new Snapshots({ dataDir: dir });
  for (const kind of ['backup', 'archive', 'export'] as const) {
    const { snapshots, latest, latestGood, total } = await handle.list({ kind });
    expect(snapshots.map(({ name }) => name)).toEqual(names[kind]);
    expect(snapshots.every(({ location }) => location.includes(`/.lifecycle/${kind}/`))).toBe(true);
    expect([latest, latestGood, total.count]).toEqual([names[kind]!.at(-1), names[kind]!.at(-1), 3]);
  }
  expect((await stillpoint(['list', dir, '--kind', 'archive', '--json'])).json.snapshots).toHaveLength(3);

  const pruned = await stillpoint(['prune', dir, '--kind', 'archive', '--keep', '1', '--json']);
  expect(pruned.json.removed.map(({ name }: { name: string }) => name)).toEqual(names.archive!.slice(0, 2));
  await handle.prune({ kind: 'export', keep: 2 });
  const left = async (kind: 'backup' | 'archive' | 'export') =>
    (await handle.list({ kind })).snapshots.length;
  expect([await left('backup'), await left('archive'), await left('export')]).toEqual([3, 1, 2]);
  const { archives, exports } = await handle.status();
  expect([archives.count, exports.count]).toEqual([1, 2]);
});
