import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { kernelLocks } from '../../src/env/lock.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { BackupCoordinator, Snapshots, verifySnapshot } from '../../src/index.ts';
import { plainDirectory } from '../support/folders.ts';

async function directoryWith(count: number) {
  const dir = await plainDirectory();
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const names: string[] = [];
  for (let i = 0; i < count; i++) names.push((await backup.backup()).name);
  return { dir, names, backup: join(dir, '.lifecycle/backup') };
}

const namesOf = (snapshots: readonly { name: string }[]) => snapshots.map(({ name }) => name);

test('keeps the newest, and a dry run says the same and does nothing', async () => {
  const { dir, names, backup } = await directoryWith(4);
  const planned = await new Snapshots({ dataDir: dir }).prune({ keep: 2, dryRun: true });
  expect(namesOf(planned.removed)).toEqual(names.slice(0, 2));
  expect(namesOf((await new Snapshots({ dataDir: dir }).list()).snapshots)).toEqual(names);
  const done = await new Snapshots({ dataDir: dir }).prune({ keep: 2 });
  expect([namesOf(done.removed), namesOf(done.kept)]).toEqual([names.slice(0, 2), names.slice(2)]);
  expect(
    readdirSync(backup)
      .filter((name) => name.includes('ts-'))
      .sort(),
  ).toEqual(names.slice(2).sort());
  const ledger = names.slice(2).map((name) => `${name}.json`);
  expect(readdirSync(join(backup, 'proofs')).sort()).toEqual(['lock', 'upkeep.jsonl', ...ledger].sort());
  for (const name of names.slice(2)) expect((await verifySnapshot(join(backup, name))).ok).toBe(true);
});

test('what latest names stays, wherever it stands in the order (invariant 11)', async () => {
  const { dir, names, backup } = await directoryWith(3);
  writeFileSync(join(backup, 'latest'), names[0]!);
  const { removed } = await new Snapshots({ dataDir: dir }).prune({ keep: 1 });
  expect(namesOf(removed)).toEqual([names[1]]);
  await expect(new Snapshots({ dataDir: dir }).delete(names[0]!)).rejects.toMatchObject({ code: 'CONFLICT' });
  expect(existsSync(join(backup, names[0]!))).toBe(true);
});

test('a snapshot that is being read is not removed', async () => {
  const { dir, names, backup } = await directoryWith(2);
  const manifest = join(backup, names[0]!, 'snapshot.manifest');
  const reader = await kernelLocks.tryAcquire(nodeFileSystem, manifest, 'shared');
  const { removed, busy } = await new Snapshots({ dataDir: dir }).prune({ keep: 1 });
  expect([namesOf(removed), namesOf(busy)]).toEqual([[], [names[0]]]);
  await expect(new Snapshots({ dataDir: dir }).delete(names[0]!)).rejects.toMatchObject({ code: 'CONFLICT' });
  await reader?.release();
  expect((await new Snapshots({ dataDir: dir }).delete(names[0]!)).name).toBe(names[0]);
  expect(namesOf((await new Snapshots({ dataDir: dir }).list()).snapshots)).toEqual([names[1]]);
});

test('only a snapshot can be deleted', async () => {
  const { dir } = await directoryWith(1);
  for (const name of ['ts-1', '..', '../..', dir, 'latest/../..']) {
    await expect(new Snapshots({ dataDir: dir }).delete(name), name).rejects.toMatchObject({
      name: 'StillpointError',
    });
  }
  await expect(new Snapshots({ dataDir: dir }).prune({ keep: 0 })).rejects.toThrow(TypeError);
  expect((await new Snapshots({ dataDir: dir }).list()).snapshots).toHaveLength(1);
  expect(existsSync(join(dir, 'a.txt'))).toBe(true);
});
