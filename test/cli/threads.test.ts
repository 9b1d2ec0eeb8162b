import { expect, test, vi } from 'vitest';
import { commandEnvironment } from '../../src/cli/environment.ts';
import { BackupCoordinator, backUp, initRepository, openLsm } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { costBytesOf } from '../../src/snapshot/verify/check-files.ts';
import { prove } from '../../src/snapshot/verify/prove.ts';
import { temporaryFolder } from '../support/temp.ts';

/** What the command says of a snapshot of the folder, and how many tasks it had a thread do for that. */
async function verify(dataDir: string) {
  const { location } = await new BackupCoordinator({ dataDir, engine: 'lsm' }).backup();
  const inThreads = vi.spyOn(systemEnvironment.pool, 'run');
  try {
    const { report } = await prove(commandEnvironment, location);
    return { verdict: report.verdict, tasksInThreads: inThreads.mock.calls.length };
  } finally {
    inThreads.mockRestore();
  }
}

test('the command starts no thread for an empty database, though its log is a file of 512 MiB', async () => {
  const dir = await temporaryFolder();
  await (await openLsm(dir)).close();
  expect(await verify(dir)).toEqual({ verdict: 'faithful', tasksInThreads: 0 });
});

test('a command backs up an empty database without a thread, though its log is a file of 512 MiB', async () => {
  const dir = await temporaryFolder();
  await (await openLsm(dir)).close();
  const to = await temporaryFolder();
  await initRepository(to);
  const inThreads = vi.spyOn(systemEnvironment.pool, 'run');
  try {
    const { state } = await backUp(dir, { to, environment: commandEnvironment });
    expect([state, inThreads.mock.calls.length]).toEqual(['succeeded', 0]);
  } finally {
    inThreads.mockRestore();
  }
});

test('a hole costs little, but not nothing', () => {
  const GiB = 1024 ** 3;
  const costBytes = (sizeBytes: number, allocatedBytes?: number) =>
    costBytesOf([{ path: 'file', sizeBytes, ...(allocatedBytes !== undefined && { allocatedBytes }) }]);
  expect(costBytes(GiB)).toBeGreaterThan(GiB);
  expect(costBytes(GiB, GiB / 2)).toBeGreaterThan(GiB / 2);
  expect(costBytes(GiB, 2 * GiB)).toBe(costBytes(GiB)); // preallocated beyond its end
  expect(costBytes(GiB, 0)).toBeLessThan(GiB / 64);
  expect(costBytes(16 * GiB, 0)).toBeGreaterThan(8 * costBytes(GiB, 0));
});
