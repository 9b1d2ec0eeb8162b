import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BackupCoordinator, Snapshots } from '../../src/index.ts';
import { KEEP_RUNS } from '../../src/operation/records.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { stillpoint } from '../support/command.ts';
import { plainDirectory } from '../support/folders.ts';
import { rot } from '../support/rot.ts';
import { injected, untilFinished } from '../support/server.ts';

async function withSnapshots(count: number, kind: 'backup' | 'archive' = 'backup') {
  const dir = await plainDirectory({ 'a.txt': 'first' });
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const names: string[] = [];
  for (let i = 0; i < count; i++) names.push((await backup.backup({ kind, reuse: false })).name);
  return { dir, names, snapshots: new Snapshots({ dataDir: dir }) };
}

test('what was verified, pruned and deleted is on record, with what came of it', async () => {
  const { dir, names, snapshots } = await withSnapshots(4);
  await stillpoint(['verify', dir, '--all']);
  rot(join(dir, '.lifecycle/backup', names[1]!, 'a.txt'), 1);
  await snapshots.verify(names[1]!);
  await snapshots.delete(names[0]!);
  await snapshots.prune({ keep: 1, dryRun: true }); // does nothing
  await snapshots.prune({ keep: 1 });
  await expect(snapshots.delete(names[3]!)).rejects.toMatchObject({ code: 'CONFLICT' }); // refused: nothing was done
  const { json } = await stillpoint(['runs', dir, '--limit', '4', '--json']);
  const backup = join(dir, '.lifecycle/backup');
  expect(json.runs).toMatchObject([
    { kind: 'prune', location: backup, upkeep: { folders: 3, removed: 2, freed_bytes: expect.any(Number) } },
    { kind: 'delete', location: join(backup, names[0]!), upkeep: { folders: 1, removed: 1 } },
    {
      kind: 'verify',
      location: join(backup, names[1]!),
      state: { status: 'failed', code: 'COPY_DAMAGED', reason: expect.stringContaining('a.txt') },
    },
    { kind: 'verify', state: { status: 'completed' }, upkeep: { folders: 4, removed: 0, freed_bytes: 0 } },
  ]);
  const { stdout } = await stillpoint(['runs', dir, '--kind', 'prune']);
  expect(stdout).toMatch(/prune +completed .* 2 of 3 removed, .*B freed\n$/);
  expect((await snapshots.runs({ kind: 'backup' })).runs).toHaveLength(4);
});

test('what was pruned pushes no snapshot off the record, and its own record does not grow without end', async () => {
  const { dir, snapshots } = await withSnapshots(1);
  await snapshots.prune({ keep: 1 });
  const { upkeep } = layoutOf(dir);
  const line = readFileSync(upkeep, 'utf8');
  const { id } = JSON.parse(line);
  const many = Array.from({ length: 2 * KEEP_RUNS }, (_, i) => line.replace(id, `${i}`));
  const damage = JSON.parse(line);
  Object.assign(damage, { kind: 'verify', location: dir, id: 'damage' });
  Object.assign(damage.state, { status: 'failed', code: 'SOURCE_DAMAGED', reason: 'a table is damaged' });
  writeFileSync(upkeep, [JSON.stringify(damage), ...many].join('\n'));
  await snapshots.prune({ keep: 1 });
  expect(readFileSync(upkeep, 'utf8').split('\n')).toHaveLength(KEEP_RUNS + 1);
  expect(await snapshots.status()).toMatchObject({ safe: false, sourceDamaged: true }); // that is never forgotten
  const { runs } = await new Snapshots({ dataDir: dir }).runs({ limit: 3 * KEEP_RUNS });
  expect(runs.map(({ kind }) => kind)).toEqual([...Array(KEEP_RUNS).fill('prune'), 'verify', 'backup']);
});

test('one snapshot is deleted from the command line; the newest proven one is refused', async () => {
  const { dir, names, snapshots } = await withSnapshots(3);
  const at = (name: string | undefined) => join(dir, '.lifecycle/backup', name!);
  const dry = await stillpoint(['delete', names[0]!, '--data-dir', dir, '--dry-run', '--json']);
  expect([dry.code, dry.json]).toEqual([0, expect.objectContaining({ dry_run: true, name: names[0] })]);
  expect(existsSync(at(names[0]))).toBe(true);
  const gone = await stillpoint(['delete', names[0]!, '--data-dir', dir, '--json']);
  expect(gone.json).toEqual({ ...dry.json, dry_run: false });
  expect(gone.json.freed_bytes).toBeGreaterThan(0);
  const byPath = await stillpoint(['delete', at(names[1])]);
  expect(byPath.stdout).toMatch(new RegExp(`^deleted ${names[1]}: .*B freed\n$`));
  for (const name of ['latest', names[2]!]) {
    const { code, json } = await stillpoint(['delete', name, '--data-dir', dir, '--json']);
    expect([code, json.error.code]).toEqual([4, 'CONFLICT']);
  }
  const absent = await stillpoint(['delete', names[0]!, '--data-dir', dir, '--json']);
  expect([absent.code, absent.json.error.code]).toEqual([5, 'NOT_FOUND']);
  expect((await stillpoint(['delete', dir, '--json'])).json.error.code).toBe('INVALID_REQUEST');
  expect((await snapshots.list()).snapshots.map(({ name }) => name)).toEqual([names[2]]);
});

test('where others would go than a dry run showed, nothing is removed', async () => {
  const { dir, names, snapshots } = await withSnapshots(3);
  const { removed } = await snapshots.prune({ keep: 2, dryRun: true });
  const expected = removed.map(({ name }) => name);
  expect(expected).toEqual([names[0]]);
  await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  await expect(snapshots.prune({ keep: 2, expected })).rejects.toMatchObject({
    code: 'CONFLICT',
    message: `what would go is not what was expected: ${names[0]}, ${names[1]} instead of ${names[0]}`,
  });
  await expect(snapshots.prune({ keep: 2, expected: [] })).rejects.toMatchObject({ code: 'CONFLICT' });
  await expect(snapshots.prune({ keep: 4, expected })).rejects.toThrow('nothing instead of');
  expect((await snapshots.list()).snapshots).toHaveLength(4);
  // One that is being read stays, and a dry run says so.
  const { fs, locks } = systemEnvironment;
  const read = join(dir, '.lifecycle/backup', names[1]!, 'snapshot.manifest');
  const lock = await locks.tryAcquire(fs, read, 'shared');
  const shown = await snapshots.prune({ keep: 2, dryRun: true });
  expect([shown.removed, shown.busy]).toMatchObject([[{ name: names[0] }], [{ name: names[1] }]]);
  expect((await snapshots.prune({ keep: 2, expected })).removed).toMatchObject([{ name: names[0] }]);
  await lock!.release();
  await expect(snapshots.prune({ keep: 2, expected: [] })).rejects.toMatchObject({ code: 'CONFLICT' });
});

test('an undo names what it brings back: the second one of two does not take the first one back', async () => {
  const { rpc, dataDir } = await injected();
  const done = (path: string) => untilFinished(async () => (await rpc('GET', path)).json);
  await rpc('PUT', '/kv/a', '1');
  await done(`/api/admin/backup/${(await rpc('POST', '/api/admin/backup')).json.handle}`);
  await rpc('PUT', '/kv/a', '2');
  await done(`/api/admin/restore/${(await rpc('POST', '/api/admin/restore')).json.handle}`);
  const [to] = readdirSync(join(dataDir, '.lifecycle/restore-backup'));
  const undo = () => rpc('POST', '/api/admin/restore/undo', { to });
  await done(`/api/admin/restore/${(await undo()).json.handle}`);
  const again = await undo();
  expect([again.status, again.json.error.code]).toEqual([404, 'NOT_FOUND']);
  expect(String((await rpc('GET', '/kv/a')).bytes)).toBe('2');
  await rpc('POST', '/api/admin/hold', { run: 'r' });
  expect((await rpc('POST', '/api/admin/restore/undo', { run: 'r', to })).status).toBe(400);
});

test('an archive is deleted by its path, and the server prunes archives', async () => {
  const { dir, names } = await withSnapshots(2, 'archive');
  const first = join(dir, '.lifecycle/archive', names[0]!);
  expect((await stillpoint(['delete', first])).code).toBe(0);
  expect(existsSync(first)).toBe(false);

  const { rpc, dataDir } = await injected();
  await rpc('PUT', '/kv/a', '1');
  for (let i = 0; i < 2; i++) {
    await rpc('POST', '/api/admin/lifecycle', { action: 'archive' });
    await untilFinished(async () => ({
      state: (await new Snapshots({ dataDir }).runs({ limit: 1 })).runs[0]!.state,
    }));
  }
  const { json } = await rpc('POST', '/api/admin/prune', { keep: 1, kind: 'archive' });
  expect([json.removed.length, json.kept.length]).toEqual([1, 1]);
  expect((await rpc('POST', '/api/admin/prune', { keep: 1, kind: 'other' })).status).toBe(400);
  expect((await rpc('GET', '/api/admin/runs?kind=prune')).json.runs).toMatchObject([
    { location: join(dataDir, '.lifecycle/archive'), upkeep: { folders: 2, removed: 1 } },
  ]);
});

test('the server gives up undo folders after a dry run that names those with writes of their own', async () => {
  const { rpc, dataDir } = await injected();
  const done = (path: string) => untilFinished(async () => (await rpc('GET', path)).json);
  const restore = async () => {
    const { handle } = (await rpc('POST', '/api/admin/restore')).json;
    await done(`/api/admin/restore/${handle}`);
  };
  await rpc('PUT', '/kv/a', '1');
  await done(`/api/admin/backup/${(await rpc('POST', '/api/admin/backup')).json.handle}`);
  await rpc('PUT', '/kv/a', '2');
  await restore();
  await restore();
  const folders = () => readdirSync(join(dataDir, '.lifecycle/restore-backup')).sort();
  const [first, second] = folders();
  const prune = (body: object) => rpc('POST', '/api/admin/prune/undo', body);

  const { json: held } = await prune({ keep: 0, dry_run: true });
  expect(held.kept).toContainEqual(expect.objectContaining({ name: first, may_hold_writes: true }));
  const { json: shown } = await prune({ keep: 0, dry_run: true, discard_writes: true });
  expect(shown.removed.map(({ name }: { name: string }) => name)).toEqual([first, second]);
  expect(shown.removed[0].may_hold_writes).toBe(true);
  expect(shown.freed_bytes).toBeGreaterThan(0);
  expect(folders()).toEqual([first, second]);

  await rpc('POST', '/api/admin/hold', { run: 'r' });
  expect((await prune({ keep: 0 })).status).toBe(409);
  await rpc('POST', '/api/admin/release', { run: 'r' });

  const meant = { keep: 1, discard_writes: true };
  const other = await prune({ ...meant, expected: [] });
  expect([other.status, other.json.error.message]).toEqual([409, expect.stringContaining(first!)]);
  expect(folders()).toEqual([first, second]);
  const { json: pruned } = await prune({ ...meant, expected: [first] });
  expect([pruned.removed.length, pruned.kept.length]).toEqual([1, 1]);
  expect(folders()).toEqual([second]);
  expect((await rpc('GET', '/api/admin/status')).json.safety.undo.count).toBe(1);
  expect((await prune({ keep: -1 })).status).toBe(400);
});
