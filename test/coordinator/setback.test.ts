import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { BackupCoordinator, openLsm, RestoreCoordinator, Snapshots } from '../../src/index.ts';
import { stillpoint } from '../support/command.ts';
import { temporaryFolder } from '../support/temp.ts';

// A database that is of an older state than its last snapshot, or was begun anew, must not roll the good ones out.

interface Open {
  put(key: string, value: string): Promise<unknown>;
  close(): Promise<unknown>;
}

const ENGINES: Readonly<Record<string, (dir: string) => Promise<Open>>> = {
  lsm: (dir) => openLsm(dir, { walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 } }),
  async leveldb(dir) {
    const database = new ClassicLevel(dir);
    await database.open();
    return database;
  },
};

async function fill(open: (dir: string) => Promise<Open>, dir: string, count: number): Promise<void> {
  const database = await open(dir);
  for (let i = 0; i < count; i++) await database.put(`key${i}`, `value ${i}`);
  await database.close();
}

const NO_SETBACK = expect.not.arrayContaining([expect.objectContaining({ code: 'STATE_OLDER' })]);
const SETBACK = expect.arrayContaining([
  expect.objectContaining({ code: 'STATE_OLDER', severity: 'warning' }),
]);

test.each(Object.keys(ENGINES))(
  '%s: what was there before it was begun anew stays, whatever is kept',
  async (name) => {
    const open = ENGINES[name]!;
    const dir = join(await temporaryFolder(), 'data');
    const backups = new BackupCoordinator({ dataDir: dir });
    await fill(open, dir, 200);
    await backups.backup();
    await fill(open, dir, 10);
    const good = await backups.backup({ keep: 1 });
    expect(good).toMatchObject({ report: { findings: NO_SETBACK }, pruned: [expect.any(String)] });
    for (const entry of readdirSync(dir))
      if (entry !== '.lifecycle') rmSync(join(dir, entry), { recursive: true });
    await fill(open, dir, 5);
    const anew = await backups.backup({ keep: 1 });
    expect(anew).toMatchObject({ report: { ok: true, findings: SETBACK }, pruned: [] });
    await fill(open, dir, 500); // further than it had come before
    const later = await backups.backup({ keep: 1 });
    expect(later).toMatchObject({ report: { findings: NO_SETBACK }, pruned: [anew.name] });
    const { decisions } = await new Snapshots({ dataDir: dir }).prune({ keep: 1, dryRun: true });
    expect(decisions).toEqual([
      { name: good.name, stays: true, reason: expect.stringContaining('writes that no newer one has') },
      { name: later.name, stays: true, reason: 'one of the newest 1' },
    ]);
  },
);

test.each(Object.keys(ENGINES))(
  '%s: a snapshot that looks into no file neither tells of a setback nor hides one',
  async (name) => {
    const open = ENGINES[name]!;
    const dir = join(await temporaryFolder(), 'data');
    const backups = new BackupCoordinator({ dataDir: dir });
    await fill(open, dir, 20);
    await backups.backup();
    expect((await backups.backup({ level: 'files' })).report.findings).toEqual([]);
    for (const entry of readdirSync(dir))
      if (entry !== '.lifecycle') rmSync(join(dir, entry), { recursive: true });
    await fill(open, dir, 5);
    expect(await backups.backup()).toMatchObject({ report: { findings: SETBACK } });
  },
);

test('a copy of the files in between hides no setback, and the proven snapshot before it stays', async () => {
  const dir = join(await temporaryFolder(), 'data');
  const backups = new BackupCoordinator({ dataDir: dir });
  await fill(ENGINES.leveldb!, dir, 20);
  const proven = await backups.backup();
  const files = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  for (const entry of readdirSync(dir))
    if (entry !== '.lifecycle') rmSync(join(dir, entry), { recursive: true });
  await fill(ENGINES.leveldb!, dir, 5);
  const anew = await backups.backup({ keep: 1 });
  expect(anew).toMatchObject({ report: { findings: SETBACK }, pruned: [] });
  const { snapshots } = await new Snapshots({ dataDir: dir }).list();
  expect(snapshots.map(({ name }) => name)).toEqual([proven.name, files.name, anew.name]);
});

test('a database that was begun anew is told by a run that says nothing else, and by the status from then on', async () => {
  const dir = join(await temporaryFolder(), 'data');
  await fill(ENGINES.leveldb!, dir, 200);
  const { name } = await new BackupCoordinator({ dataDir: dir }).backup();
  for (const entry of readdirSync(dir))
    if (entry !== '.lifecycle') rmSync(join(dir, entry), { recursive: true });
  await fill(ENGINES.leveldb!, dir, 5);
  const first = await stillpoint(['snapshot', dir, '--quiet']);
  expect(first).toMatchObject({ code: 0, stdout: '', stderr: expect.stringContaining('begun anew') });
  await fill(ENGINES.leveldb!, dir, 5);
  expect(await stillpoint(['snapshot', dir, '--quiet'])).toMatchObject({ code: 0, stdout: '', stderr: '' });
  const { safe, notes } = await new Snapshots({ dataDir: dir }).status();
  expect(safe).toBe(true);
  expect(notes).toContainEqual(expect.stringContaining(`${name} may hold writes that no newer one has`));
});

test('each state that was left behind stays', async () => {
  const dir = join(await temporaryFolder(), 'data');
  const backups = new BackupCoordinator({ dataDir: dir });
  const names: string[] = [];
  mkdirSync(dir);
  for (const count of [100, 20, 5]) {
    for (const entry of readdirSync(dir, { withFileTypes: true }).filter(({ name }) => name !== '.lifecycle'))
      rmSync(join(entry.parentPath, entry.name), { recursive: true });
    await fill(ENGINES.lsm!, dir, count);
    names.push((await backups.backup({ keep: 1 })).name);
  }
  const { snapshots } = await new Snapshots({ dataDir: dir }).list();
  expect(snapshots.map(({ name }) => name)).toEqual(names);
});

test('a state that came back from a snapshot is told as an older one, and the newer stays', async () => {
  const dir = join(await temporaryFolder(), 'data');
  const backups = new BackupCoordinator({ dataDir: dir });
  await fill(ENGINES.lsm!, dir, 20);
  const old = await backups.backup();
  await fill(ENGINES.lsm!, dir, 20);
  const newer = await backups.backup();
  await new RestoreCoordinator({ dataDir: dir }).restore({ source: old.name });
  await fill(ENGINES.lsm!, dir, 3);
  expect(await backups.backup({ keep: 1 })).toMatchObject({
    report: { findings: SETBACK },
    pruned: [old.name],
  });
  await fill(ENGINES.lsm!, dir, 100);
  const passed = await backups.backup({ keep: 1 });
  expect(passed).toMatchObject({ report: { findings: NO_SETBACK } });
  expect(passed.pruned).not.toContain(newer.name);
  const dry = await stillpoint(['delete', newer.name, '--data-dir', dir, '--dry-run']);
  expect(dry.stdout).toContain('may hold writes that no newer one has');
  await new Snapshots({ dataDir: dir }).delete(newer.name); // who meant it removes it
});

test.each(Object.keys(ENGINES))(
  '%s: after a restore it may come as far as it likes: the newer snapshot stays, unless it was undone',
  async (name) => {
    const open = ENGINES[name]!;
    const dir = join(await temporaryFolder(), 'data');
    const backups = new BackupCoordinator({ dataDir: dir });
    const restores = new RestoreCoordinator({ dataDir: dir });
    await fill(open, dir, 20);
    const old = await backups.backup();
    await fill(open, dir, 20);
    await backups.backup();
    await restores.restore({ source: old.name });
    await restores.undo();
    await fill(open, dir, 5);
    const newer = await backups.backup();
    expect(newer).toMatchObject({ report: { findings: NO_SETBACK } });
    await restores.restore(); // the newest
    await fill(open, dir, 5);
    const newest = await backups.backup();
    expect(newest).toMatchObject({ report: { findings: NO_SETBACK } });
    await restores.restore({ source: old.name });
    await fill(open, dir, 500);
    const passed = await backups.backup({ keep: 1 });
    expect(passed).toMatchObject({ report: { findings: SETBACK } });
    expect(passed.pruned).not.toContain(newest.name);
    const again = await backups.backup({ keep: 1 });
    expect(again).toMatchObject({ report: { findings: NO_SETBACK } });
    expect(again.pruned).not.toContain(newest.name);
  },
);

test('what an undo brings back is known: the newest state is no setback, and one of before a snapshot is', async () => {
  const dir = join(await temporaryFolder(), 'data');
  const backups = new BackupCoordinator({ dataDir: dir });
  const restores = new RestoreCoordinator({ dataDir: dir });
  await fill(ENGINES.lsm!, dir, 20);
  const old = await backups.backup();
  await fill(ENGINES.lsm!, dir, 20);
  await backups.backup();
  await fill(ENGINES.lsm!, dir, 5);
  const { undo: first } = await restores.restore({ source: old.name });
  await restores.restore({ source: old.name });
  await fill(ENGINES.lsm!, dir, 500);
  const { undo: passed } = await restores.undo({ to: basename(first) });
  expect(await backups.backup()).toMatchObject({ report: { findings: NO_SETBACK } });
  await restores.undo({ to: basename(passed) });
  const { report } = await backups.backup();
  expect(report.findings).toMatchObject(SETBACK);
  expect(report.findings[0]!.message).toContain(old.name); // it came from there, and on from there
});

test('a LevelDB that was begun anew is known by its tables, however far it has come', async () => {
  const dir = join(await temporaryFolder(), 'data');
  const backups = new BackupCoordinator({ dataDir: dir });
  const life = async (count: number, tag: string) => {
    const database = new ClassicLevel(dir);
    for (let i = 0; i < count; i++) await database.put(`${tag}${i}`, `value ${i}`);
    await database.compactRange('', 'zzz');
    await database.close();
  };
  await life(50, 'a');
  const good = await backups.backup();
  for (const entry of readdirSync(dir))
    if (entry !== '.lifecycle') rmSync(join(dir, entry), { recursive: true });
  await life(500, 'b');
  const anew = await backups.backup({ keep: 1 });
  expect(anew).toMatchObject({ report: { findings: SETBACK }, pruned: [] });
  await life(50, 'c');
  const later = await backups.backup({ keep: 1 });
  expect(later).toMatchObject({ report: { findings: NO_SETBACK }, pruned: [anew.name] });
  const { snapshots } = await new Snapshots({ dataDir: dir }).list();
  expect(snapshots.map(({ name }) => name)).toEqual([good.name, later.name]);
});

test('a database that one of another engine has replaced stays', async () => {
  const dir = join(await temporaryFolder(), 'data');
  const backups = new BackupCoordinator({ dataDir: dir });
  await fill(ENGINES.leveldb!, dir, 20);
  const before = await backups.backup();
  for (const entry of readdirSync(dir))
    if (entry !== '.lifecycle') rmSync(join(dir, entry), { recursive: true });
  await fill(ENGINES.lsm!, dir, 100);
  const other = await backups.backup({ keep: 1 });
  expect(other).toMatchObject({ report: { findings: SETBACK }, pruned: [] });
  await fill(ENGINES.lsm!, dir, 5);
  expect(await backups.backup({ keep: 1 })).toMatchObject({
    report: { findings: NO_SETBACK },
    pruned: [other.name],
  });
  expect((await new Snapshots({ dataDir: dir }).list()).snapshots[0]!.name).toBe(before.name);
});

test('a copy of the files of a damaged database does not take the place of a proven snapshot', async () => {
  const dir = join(await temporaryFolder(), 'data');
  await fill(ENGINES.leveldb!, dir, 200);
  const proven = await new BackupCoordinator({ dataDir: dir }).backup();
  const files = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup({ keep: 1 });
  expect(files.pruned).toEqual([]);
  const snapshots = new Snapshots({ dataDir: dir });
  expect(await snapshots.list()).toMatchObject({
    latestGood: proven.name,
    snapshots: [{ level: 'full' }, { level: 'files', state: 'good' }],
  });
  const { stdout } = await stillpoint(['list', dir]);
  expect(stdout.split('\n').find((line) => line.startsWith(files.name))).toMatch(/latest +lesser proof$/);
  const { summary, oldestGood, newestGood } = await snapshots.status();
  expect([oldestGood?.name, newestGood?.name]).toEqual([proven.name, files.name]);
  expect(summary).toContain(
    `is proven at level "files"; the newest proven at level "full" is ${proven.name}`,
  );
});
