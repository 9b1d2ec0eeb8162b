import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openLsm } from '../../src/index.ts';
import { stillpoint } from '../support/command.ts';
import { writeTree } from '../support/folders.ts';
import { BUSY } from '../support/lsm-workload.ts';
import { temporaryFolder } from '../support/temp.ts';

const SLOWLY = ['--max-bytes-per-second', '1M', '--concurrency', '1'];

it('every command that moves bytes keeps to the limit', async () => {
  const root = await temporaryFolder();
  const data = join(root, 'data');
  writeTree(data, { file: randomBytes(512 * 1024) });
  /** Half a MiB takes half a second for each time that it is copied or read back; a tenth may be caught up on. */
  const cases = [
    { args: ['snapshot', data, '--engine', 'files'], leastMs: 900 },
    { args: ['verify', 'latest', '--data-dir', data], leastMs: 400 },
    { args: ['verify', data, '--all'], leastMs: 400 },
    { args: ['restore', 'latest', '--data-dir', data, '--into', join(root, 'new')], leastMs: 900 },
    { args: ['restore', 'latest', '--data-dir', data, '--in-place'], leastMs: 900 },
  ];
  for (const { args, leastMs } of cases) {
    const begin = performance.now();
    const { code, stderr } = await stillpoint([...args, ...SLOWLY, '--json']);
    expect({ args, code, stderr }).toEqual({ args, code: 0, stderr: '' });
    expect(performance.now() - begin, args.join(' ')).toBeGreaterThan(leastMs);
  }
});

it('warns that more tasks than processors are of no use, and says which proof a shared file carries', async () => {
  const data = join(await temporaryFolder(), 'data');
  const database = await openLsm(data, BUSY);
  await database.put('a', 'b');
  await database.checkpoint();
  await database.close();
  const first = await stillpoint(['snapshot', data, '--concurrency', '9999']);
  expect([first.code, first.stderr]).toEqual([
    0,
    expect.stringMatching(/^--concurrency: \d+ at once, not 9999; /),
  ]);
  const carried = await stillpoint(['snapshot', data]);
  expect([carried.stdout, carried.stderr]).toEqual([expect.stringContaining(' by an earlier proof'), '']);
  const { stdout } = await stillpoint(['snapshot', data, '--reprove']);
  expect(stdout).toContain(' shared, and read again');
  expect(stdout).not.toContain(' by an earlier proof');
});
