import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { BackupCoordinator, openLsm, RestoreCoordinator, Snapshots } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { stillpoint } from '../support/command.ts';
import { plainDirectory } from '../support/folders.ts';
import { rot } from '../support/rot.ts';
import { injected, untilFinished } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';

const HOUR_MS = 60 * 60 * 1000;

async function withSnapshots(count: number) {
  const dir = await plainDirectory();
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const taken = [];
  for (let i = 0; i < count; i++) taken.push(await backup.backup({ reuse: false }));
  return { dir, taken };
}

/** The status of a directory when the clock stands `aheadMs` further. */
function statusAt(dir: string, aheadMs: number, maxAgeMs?: number) {
  const clock = { ...systemEnvironment.clock, nowMs: () => Date.now() + aheadMs };
  const environment = { ...systemEnvironment, clock };
  return new Snapshots({ dataDir: dir, environment }).status({ maxAgeMs });
}

test('status says in one sentence that the data is safe, and exits with 0', async () => {
  const { dir, taken } = await withSnapshots(2);
  const { code, stdout, stderr } = await stillpoint(['status', dir, '--max-age', '26h']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [sentence, empty] = stdout.split('\n');
  expect(sentence).toMatch(
    new RegExp(`^Safe: ${taken[1]!.name}, \\d+ s old, is proven at level "files"\\.$`),
  );
  expect(empty).toBe('');
  for (const line of [/^last snapshot +20.*Z, \d+ s ago$/m, /^damaged +none$/m, /^undo folders +none$/m])
    expect(stdout).toMatch(line);
  expect(stdout).toMatch(/^database +[\d.]+ [KMGTP]iB on disk$/m);
  expect(stdout.replaceAll(/\n +/g, ' ')).toMatch(
    /^free disk +[\d.]+ [KMGTP]iB: enough for the next snapshot, which needs up to [\d.]+ [KMGTP]iB$/m,
  );
});

test('status is not safe for damage that a verification found, and every face says so', async () => {
  const { dir, taken } = await withSnapshots(3);
  rot(join(taken[1]!.location, 'a.txt'));
  expect((await stillpoint(['status', dir])).code).toBe(0); // nobody has looked
  expect((await stillpoint(['verify', dir, '--all', '--level', 'files'])).code).toBe(3);
  const { runs } = (await stillpoint(['runs', dir, '--kind', 'verify', '--json'])).json;
  expect(runs[0].state.reason).toMatch(/^1 of 3 snapshots is damaged: /);
  const { code, json } = await stillpoint(['status', dir, '--json']);
  expect(code).toBe(3);
  expect(json).toMatchObject({
    safe: false,
    damaged: [{ name: taken[1]!.name, damage: 'a.txt is damaged' }],
    newest_good: { name: taken[2]!.name },
    latest_good: taken[2]!.name,
    total: { count: 3, damaged: 1 },
  });
  expect(json.summary).toMatch(
    new RegExp(`^Not safe: 1 of 3 snapshots is damaged \\(${taken[1]!.name}\\); ${taken[2]!.name}, `),
  );
});

test('status and list read well in 80 columns', async () => {
  const { dir, taken } = await withSnapshots(3);
  rot(join(taken[1]!.location, 'a.txt'));
  await stillpoint(['verify', dir, '--all', '--level', 'files']);
  await new RestoreCoordinator({ dataDir: dir, engine: 'files' }).restore();
  const { stdout } = await stillpoint(['status', dir], {}, 80);
  const isCommand = (line: string) => /^( +|\S.* {2,})stillpoint /.test(line); // in one piece, for whoever pastes it
  expect(stdout.split('\n').filter((line) => line.length > 80 && !isCommand(line))).toEqual([]);
  expect(stdout).toMatch(new RegExp(`^damaged +${taken[1]!.name}: a.txt is damaged$`, 'm'));
  expect(stdout).toMatch(/^remove damaged +stillpoint delete /m);
  expect(stdout).toMatch(/^undo a restore +with the database closed:\n +stillpoint undo /m);
  expect(stdout).toMatch(
    /^what may go +2 snapshots, [\d.]+ [KM]iB\n +stillpoint prune .* --keep 1 --dry-run$/m,
  );
  expect(stdout).toMatch(
    /^give up undo +no folder can go yet\n +a folder that may hold writes stays until /m,
  );
  // What ends the problem comes first; what replaces newer writes comes last.
  expect(stdout.replaceAll('\n', ' ')).toMatch(
    /remove damaged .*undo a restore .*what may go .*or go back +brings \S+ back; what was .*restore latest-good/,
  );
  expect(stdout).toMatch(/^last failed snapshot +none on record$/m);
  expect(stdout.replaceAll(/\n +/g, ' ')).toMatch(/^undo folders .*may hold writes that no snapshot has/m);
  const list = (await stillpoint(['list', dir], {}, 80)).stdout.split('\n');
  expect(list[0]).toMatch(/^NAME .* AGE .* ON DISK +FREES +LEVEL .* STATE$/);
  for (const line of list.filter((line) => !line.includes('damaged:'))) expect(line.length).toBeLessThan(81);
  expect((await stillpoint(['list', dir])).stdout).toMatch(/^NAME +CREATED +AGE +ENGINE +MODE +FILES /);
});

test('where the database itself is damaged, status offers to salvage it, and no snapshot goes', async () => {
  const dir = join(await temporaryFolder(), 'data');
  const database = new ClassicLevel(dir);
  for (let i = 0; i < 100; i++) await database.put(`key${i}`, `value ${i}`);
  await database.close();
  const backup = new BackupCoordinator({ dataDir: dir });
  for (let i = 0; i < 2; i++) await backup.backup({ reuse: false });
  const log = readdirSync(dir).find((name) => name.endsWith('.log'))!;
  rot(join(dir, log), 100);
  await expect(backup.backup()).rejects.toMatchObject({ code: 'SOURCE_DAMAGED' });
  const { code, stdout } = await stillpoint(['status', dir]);
  expect(code).toBe(3);
  expect(stdout).toContain(`stillpoint salvage ${dir} --into NEW\n`);
  expect(stdout).toMatch(/^first +close the database$/m);
  expect(stdout).toMatch(
    /^restore .*\n(?: .*\n)+or salvage .*\n(?: .*\n)+once it is whole +stillpoint verify /m,
  );
  expect(stdout).toMatch(/^what may go +better nothing, as long as/m);
  expect(stdout).not.toMatch(/take a new one|stillpoint prune/);
  expect((await stillpoint(['status', dir, '--json'])).json.source_damaged).toBe(true);
});

test('status is not safe without a snapshot, and when the newest good one is too old', async () => {
  const { dir, taken } = await withSnapshots(1);
  expect(await statusAt(dir, 25 * HOUR_MS, 26 * HOUR_MS)).toMatchObject({ safe: true, problems: [] });
  const old = await statusAt(dir, 27 * HOUR_MS, 26 * HOUR_MS);
  expect(old).toMatchObject({
    safe: false,
    problems: ['the newest good snapshot is 27 h old, and 26 h is allowed'],
    newestGood: { name: taken[0]!.name, ageMs: expect.any(Number) },
  });
  expect(await statusAt(dir, 27 * HOUR_MS)).toMatchObject({ safe: true });
  // A clock that was set back makes nothing young.
  const [problem] = (await statusAt(dir, -HOUR_MS, 26 * HOUR_MS)).problems;
  expect(problem).toMatch(/is of a time to come/);

  rmSync(join(dir, '.lifecycle/backup'), { recursive: true });
  const none = await stillpoint(['status', dir]);
  expect(none.code).toBe(3);
  expect(none.stdout).toMatch(/^Not safe: there is no snapshot yet\.\n/);
});

test('a folder that is no data directory has no status', async () => {
  const dir = await temporaryFolder();
  mkdirSync(join(dir, 'empty'));
  writeFileSync(join(dir, 'letter.txt'), 'no database');
  expect((await stillpoint(['status', join(dir, 'empty')])).code).toBe(2);
  expect((await stillpoint(['status', dir])).code).toBe(2);
  expect((await stillpoint(['status', join(dir, 'absent')])).code).toBe(5);
  expect(existsSync(join(dir, '.lifecycle'))).toBe(false);
});

test('a failure since the last success, a lesser proof and undo folders are told', async () => {
  const dir = await temporaryFolder();
  const database = await openLsm(dir, { walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 } });
  await database.put('key', 'value');
  await database.close();
  const backup = new BackupCoordinator({ dataDir: dir });
  await backup.backup();
  await backup.backup({ level: 'files', reuse: false });
  await new RestoreCoordinator({ dataDir: dir }).restore();
  const failing = new BackupCoordinator({
    dataDir: dir,
    checkpoint: () => Promise.reject(new Error('the host is busy')),
  });
  await expect(failing.backup()).rejects.toThrow('the host is busy');
  const status = await new Snapshots({ dataDir: dir }).status();
  expect(status).toMatchObject({
    safe: true,
    lastFailure: { code: 'HOOK_FAILED', reason: expect.stringContaining('the host is busy') },
    newestGood: { level: 'files' },
    undo: { count: 1, diskBytes: expect.any(Number), newestAtMs: expect.any(Number) },
  });
  expect(status.undo.diskBytes).toBeGreaterThan(0);
  expect(status.summary).toMatch(
    /^Safe: ts-.* is proven at level "files"; the last attempt failed \d+ s ago \(HOOK_FAILED\); the newest proven at level "full" is ts-/,
  );
});

test('the server says the same, and is degraded once damage is known', async () => {
  const { rpc, dataDir } = await injected();
  const status = async (query = '') => (await rpc('GET', `/api/admin/status${query}`)).json;
  expect(await status()).toMatchObject({
    overall_status: 'ok',
    safety: { safe: false, summary: 'Not safe: there is no snapshot yet.' },
  });
  await rpc('PUT', '/kv/a', '1');
  const { handle } = (await rpc('POST', '/api/admin/backup')).json;
  const url = `/api/admin/backup/${handle}`;
  const { location } = await untilFinished(async () => (await rpc('GET', url)).json);
  expect(await status('?max_age_ms=3600000')).toMatchObject({ overall_status: 'ok', safety: { safe: true } });
  expect((await rpc('GET', '/api/admin/status?max_age_ms=soon')).status).toBe(400);
  rot(join(location, 'lsm.wal'), 100);
  expect((await rpc('POST', `${url}/verify`)).json.ok).toBe(false);
  const shown = await status();
  expect(shown).toMatchObject({ overall_status: 'degraded', safety: { safe: false } });
  const { json } = await stillpoint(['status', dataDir, '--json']);
  expect(Object.keys(json).sort()).toEqual(Object.keys(shown.safety).sort());
  expect(json.damaged).toEqual(shown.safety.damaged);
});
