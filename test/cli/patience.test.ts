import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { BackupCoordinator, openLsm } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { stillpoint } from '../support/command.ts';
import { temporaryFolder } from '../support/temp.ts';

// What a timer wants of a command: to wait for the one before, and to be silent while all is well.

async function database(): Promise<string> {
  const dir = await temporaryFolder();
  const lsm = await openLsm(dir, { walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 } });
  await lsm.put('key', 'value');
  await lsm.checkpoint();
  await lsm.close();
  return dir;
}

/** What another process at work holds. */
async function held(dir: string) {
  const { fs, locks } = systemEnvironment;
  await mkdir(join(dir, '.lifecycle'), { recursive: true });
  return (await locks.tryAcquire(fs, join(dir, '.lifecycle/lock'), 'exclusive'))!;
}

/** Resolves when a lock was refused so many times. */
function refusals(count: number): () => Promise<void> {
  let left = count;
  let refused = (): void => undefined;
  const isRefused = new Promise<void>((resolve) => {
    refused = resolve;
  });
  const { locks } = systemEnvironment;
  const tryAcquire = locks.tryAcquire.bind(locks);
  const spy = vi.spyOn(locks, 'tryAcquire').mockImplementation(async (...asked) => {
    const lock = await tryAcquire(...asked);
    if (lock === undefined && --left === 0) refused();
    return lock;
  });
  onTestFinished(() => spy.mockRestore());
  return () => isRefused;
}

test.each([['snapshot'], ['prune', '--keep', '1'], ['undo'], ['restore', 'latest', '--in-place']])(
  '%s waits for another process as long as it is told to',
  async (name, ...more) => {
    const dir = await database();
    await new BackupCoordinator({ dataDir: dir }).backup();
    if (name === 'undo')
      expect((await stillpoint(['restore', `${dir}/.lifecycle/backup/latest`, '--in-place'])).code).toBe(0);
    const args =
      name === 'restore' ? [name, 'latest', '--data-dir', dir, '--in-place'] : [name, dir, ...more];
    const lock = await held(dir);
    expect(await stillpoint(args)).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('already running'),
    });
    if (name === 'prune') {
      expect(await stillpoint([...args, '--wait', '1s'])).toMatchObject({
        code: 4,
        stderr: expect.stringMatching(/^waiting: .*already running/),
      });
    }
    const refused = refusals(name === 'prune' ? 1 : 2); // most look for an interrupted restore before
    const waiting = stillpoint([...args, '--wait', '1m']);
    await refused();
    await lock.release();
    const { code, stderr } = await waiting;
    expect([code, stderr]).toEqual([0, expect.stringMatching(/^waiting: /)]);
  },
);

test('what does not pass by itself is not waited for', async () => {
  const dir = await database();
  await new BackupCoordinator({ dataDir: dir }).backup();
  const open = await openLsm(dir);
  const args = ['restore', 'latest', '--data-dir', dir, '--in-place', '--wait', '1h'];
  expect(await stillpoint(args)).toMatchObject({ code: 4, stderr: expect.stringContaining('is open') });
  await open.close();
  const wrong = await stillpoint(['snapshot', dir, '--wait', 'long']);
  expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('must be a time above 0') });
});

test('--quiet says nothing until something is wrong, and then all', async () => {
  const dir = await database();
  const silent = { code: 0, stdout: '', stderr: '' };
  expect(await stillpoint(['snapshot', dir, '--quiet'])).toMatchObject(silent);
  expect(await stillpoint(['status', dir, '-q'])).toMatchObject(silent);
  expect(await stillpoint(['verify', dir, '--all', '--quiet', '--json'])).toMatchObject(silent);
  const table = join(dir, '.lifecycle/backup/latest');
  const folder = join(dir, '.lifecycle/backup', readFileSync(table, 'utf8').trim().split('/').at(-1)!);
  const sst = join(folder, 'sst', readdirSync(join(folder, 'sst'))[0]!);
  const bytes = readFileSync(sst);
  bytes[40]! ^= 1;
  writeFileSync(sst, bytes);
  const damaged = await stillpoint(['verify', dir, '--all', '--quiet']);
  expect(damaged).toMatchObject({ code: 3, stdout: expect.stringContaining('damage') });
  expect(await stillpoint(['status', dir, '--quiet'])).toMatchObject({
    code: 3,
    stdout: expect.stringContaining('Not safe'),
  });
  expect(await stillpoint(['snapshot', join(dir, 'none'), '--quiet'])).toMatchObject({
    code: 5,
    stderr: expect.stringContaining('error:'),
  });
});
