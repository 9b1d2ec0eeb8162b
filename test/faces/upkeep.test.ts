import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { BackupCoordinator, RestoreCoordinator, Snapshots } from '../../src/index.ts';
import { startProcess, stillpoint } from '../support/command.ts';
import { plainDirectory } from '../support/folders.ts';
import { rot } from '../support/rot.ts';
import { type Injected, injected, untilFinished } from '../support/server.ts';

async function takeSnapshot({ rpc }: Injected) {
  const { handle } = (await rpc('POST', '/api/admin/backup', { reuse: false })).json;
  const url = `/api/admin/backup/${handle}`;
  return untilFinished(async () => (await rpc('GET', url)).json);
}

/** The events of a run until its end. */
async function eventsOf({ app }: Injected, url: string) {
  const { payload } = await app.inject({ method: 'GET', url });
  return payload
    .trim()
    .split('\n\n')
    .map((text) => {
      const [, event, data] = /^event: (\w+)\ndata: (.*)$/.exec(text)!;
      return { event, data: JSON.parse(data!) };
    });
}

test('the runs of a directory are listed, newest first, with what came of them', async () => {
  const dir = await plainDirectory();
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const { name } = await backup.backup();
  await new RestoreCoordinator({ dataDir: dir, engine: 'files' }).restore();
  const failing = new BackupCoordinator({
    dataDir: dir,
    engine: 'files',
    checkpoint: () => Promise.reject(new Error('the host is busy')),
  });
  await expect(failing.backup()).rejects.toThrow();
  const { code, json } = await stillpoint(['runs', dir, '--json']);
  expect(code).toBe(0);
  expect(json.runs).toMatchObject([
    { kind: 'backup', state: { status: 'failed', code: 'HOOK_FAILED' } },
    { kind: 'restore', state: { status: 'completed' }, metadata: { backup_id: name } },
    { kind: 'backup', state: { status: 'completed' }, location: join(dir, '.lifecycle/backup', name) },
  ]);
  const only = await new Snapshots({ dataDir: dir }).runs({ kind: 'backup', limit: 1 });
  expect(only.runs).toMatchObject([{ state: { status: 'failed' } }]);
  const { stdout } = await stillpoint(['runs', dir, '--status', 'completed']);
  const [heading, restore, taken, ...more] = stdout.trimEnd().split('\n');
  expect(heading).toMatch(/^STARTED +KIND +STATUS +TOOK +READ +SNAPSHOT$/);
  expect(restore).toMatch(new RegExp(`Z +restore +completed +[\\d.]+ m?s +- +${name}$`));
  expect(taken).toMatch(new RegExp(`Z +backup +completed +[\\d.]+ m?s +- +${name}$`));
  expect(more).toEqual([]);
});

test('the server lists its runs, prunes, and verifies all, with the words of the command line', async () => {
  const server = await injected();
  const { rpc, dataDir } = server;
  await rpc('PUT', '/kv/a', '1');
  const names: string[] = [];
  for (let i = 0; i < 3; i++) names.push((await takeSnapshot(server)).result.name);
  const runs = await rpc('GET', '/api/admin/runs?kind=backup&limit=2');
  expect(runs.json.runs.map(({ location }: { location: string }) => location.split('/').at(-1))).toEqual(
    names.slice(1).reverse(),
  );
  expect((await rpc('GET', '/api/admin/runs?kind=other')).status).toBe(400);

  const good = await rpc('POST', '/api/admin/verify', { level: 'files' });
  expect(good.json).toMatchObject({ ok: true, totals: { snapshots: 3, damaged: 0 } });
  rot(join(dataDir, '.lifecycle/backup', names[1]!, 'lsm.wal'), 100);
  const bad = (await rpc('POST', '/api/admin/verify')).json;
  expect(bad).toMatchObject({ ok: false, totals: { damaged: 1 } });
  const command = (await stillpoint(['verify', dataDir, '--all', '--json'])).json;
  expect(Object.keys(bad).sort()).toEqual(Object.keys(command).sort());
  expect((await rpc('GET', '/api/admin/status')).json.overall_status).toBe('degraded');

  expect((await rpc('POST', '/api/admin/prune', { keep: 0 })).status).toBe(400);
  expect((await rpc('POST', '/api/admin/prune')).status).toBe(400);
  const dry = (await rpc('POST', '/api/admin/prune', { keep: 1, dry_run: true })).json;
  expect(dry).toMatchObject({ dry_run: true, removed: [{ name: names[0] }, { name: names[1] }] });
  const pruned = (await rpc('POST', '/api/admin/prune', { keep: 1 })).json;
  expect(pruned).toEqual({ ...dry, dry_run: false });
  expect((await new Snapshots({ dataDir }).list()).snapshots).toMatchObject([{ name: names[2] }]);
  expect((await rpc('GET', '/api/admin/status')).json.overall_status).toBe('ok');
});

test('a reply carries the whole result, and a restore can be followed to its end', async () => {
  const server = await injected();
  const { rpc } = server;
  await rpc('PUT', '/kv/a', '1');
  const { result } = await takeSnapshot(server);
  expect(result).toMatchObject({
    name: expect.stringMatching(/^ts-/),
    engine: 'lsm',
    copied_bytes: expect.any(Number),
    report: { ok: true, verdict: 'faithful' },
    pruned: [],
  });
  expect(result.durations_ms.capture).toBeGreaterThan(0);
  const { handle } = (await rpc('POST', '/api/admin/restore')).json;
  const events = await eventsOf(server, `/api/admin/restore/${handle}/events`);
  const last = events.at(-1)!;
  expect(last).toMatchObject({
    event: 'state',
    data: {
      handle,
      state: { status: 'completed' },
      metadata: { backup_id: result.name },
      result: { undo: expect.stringContaining('restore-backup'), report: { ok: true } },
    },
  });
  expect((await rpc('GET', `/api/admin/restore/${handle}`)).json).toEqual(last.data);
  expect((await rpc('GET', '/api/admin/restore/none/events')).status).toBe(400);
});

test('a run that ended in an earlier process has its state, and no result', async () => {
  const dir = await plainDirectory();
  const first = await injected({ dataDir: join(dir, 'db') });
  await first.rpc('PUT', '/kv/a', '1');
  const { handle } = await takeSnapshot(first);
  await first.app.close();
  const second = await injected({ dataDir: join(dir, 'db') });
  const { json } = await second.rpc('GET', `/api/admin/backup/${handle}`);
  expect(json).toMatchObject({ state: { status: 'completed' }, result: null });
});

test('files that are done are counted while a run goes on', async () => {
  const dir = await plainDirectory();
  // They go to the threads in groups of up to 64.
  for (let i = 0; i < 400; i++) writeFileSync(join(dir, `${i}.bin`), Buffer.alloc(20_000, i));
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const seen = new Set<number>();
  const { id } = await backup.startBackup({ maxBytesPerSecond: 16_000_000, concurrency: 1 });
  const finished = backup.finished(id);
  let isOver = false;
  finished.finally(() => {
    isOver = true;
  });
  while (!isOver) {
    const { filesProcessed, filesTotal } = await backup.status(id);
    if (filesProcessed !== null) {
      expect(filesProcessed).toBeLessThanOrEqual(filesTotal!);
      expect(filesProcessed).toBeGreaterThanOrEqual(Math.max(0, ...seen));
      seen.add(filesProcessed);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const { state, entries } = await finished;
  expect(state).toMatchObject({ filesProcessed: entries, filesTotal: entries });
  expect([...seen].filter((count) => count > 0 && count < entries).length).toBeGreaterThan(2);
});

test('old undo folders are pruned, and what is kept can still be brought back', async () => {
  const dir = await plainDirectory({ 'a.txt': 'first' });
  await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  const restores = new RestoreCoordinator({ dataDir: dir, engine: 'files' });
  for (const text of ['second', 'third', 'fourth']) {
    writeFileSync(join(dir, 'a.txt'), text);
    await restores.restore();
  }
  const undo = join(dir, '.lifecycle/restore-backup');
  const names = readdirSync(undo).sort();
  mkdirSync(join(undo, '.deleted-ts-1')); // left by a crash
  writeFileSync(join(undo, 'notes.txt'), 'not ours');
  const held = await stillpoint(['prune', dir, '--undo', '--keep', '1', '--json']); // each of them has writes of its own
  expect(held.json).toMatchObject({
    removed: [],
    kept: names.map((name) => ({ name, may_hold_writes: true })),
  });
  const prune = ['prune', dir, '--undo', '--discard-writes'];
  const dry = await stillpoint([...prune, '--keep', '1', '--dry-run', '--json']);
  expect(dry.json).toMatchObject({ dry_run: true, removed: [{ name: names[0] }, { name: names[1] }] });
  expect(readdirSync(undo).filter((name) => name.startsWith('ts-'))).toEqual(names);
  const { json } = await stillpoint([...prune, '--keep', '1', '--json']);
  expect(json).toEqual({ ...dry.json, dry_run: false });
  expect(json.freed_bytes).toBeGreaterThan(0);
  expect(readdirSync(undo).sort()).toEqual(['notes.txt', names[2]]);
  expect((await new Snapshots({ dataDir: dir }).status()).undo.count).toBe(1);
  await restores.undo();
  expect(readFileSync(join(dir, 'a.txt'), 'utf8')).toBe('fourth');

  const all = await stillpoint([...prune, '--keep', '0']);
  expect(all.stdout).toMatch(/0 undo folders kept, [\d.]+ K?i?B freed\n$/);
  await expect(restores.undo()).rejects.toMatchObject({ code: 'NOT_FOUND' });
  const none = await stillpoint(['prune', dir, '--keep', '0']);
  expect([none.code, none.stderr]).toEqual([2, expect.stringContaining('one snapshot stays')]);
  expect((await new Snapshots({ dataDir: dir }).list()).total.count).toBe(1);
});

test('no undo folder goes while a restore is unfinished', async () => {
  const dir = await plainDirectory({ 'a.txt': 'first' });
  await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  let pruned: unknown;
  const restores = new RestoreCoordinator({
    dataDir: dir,
    engine: 'files',
    open: async () => {
      pruned = await new Snapshots({ dataDir: dir }).pruneUndo({ keep: 0 }).catch((error) => error);
    },
  });
  await restores.restore();
  expect(pruned).toMatchObject({ code: 'CONFLICT' });
  await restores.undo();
});

test('who is refused learns which process is at work, and no secret of its command line', async () => {
  const dir = await plainDirectory();
  writeFileSync(join(dir, 'large.bin'), Buffer.alloc(4_000_000, 1));
  const child = startProcess([
    'snapshot',
    dir,
    '--engine',
    'files',
    '--max-bytes-per-second',
    '64K',
    '--json',
  ]);
  onTestFinished(() => void child.kill('SIGKILL'));
  const began = Date.now();
  const snapshots = new Snapshots({ dataDir: dir });
  await vi.waitFor(async () => {
    const { runs } = await snapshots.runs({ status: 'running' });
    expect(runs).toHaveLength(1);
  }, 20_000);
  const { code, json } = await stillpoint(['prune', dir, '--keep', '1', '--json']);
  expect(code).toBe(4);
  const { message, data } = json.error;
  expect(data).toMatchObject({ pid: child.pid, command: expect.stringContaining(`main.js snapshot ${dir}`) });
  expect(Math.abs(data.started_at_ms - began)).toBeLessThan(60_000);
  expect(message).toContain(`process ${child.pid} (`);
  expect(message).not.toContain('64K');
});
