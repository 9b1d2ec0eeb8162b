import { PassThrough } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import { expect, test } from 'vitest';
import { openProgress } from '../../src/cli/progress.ts';

const MIB = 1024 * 1024;

/** What one call shows on a terminal. */
async function shown(done: number, total: number, maxBytesPerSecond?: number): Promise<string> {
  const stderr = Object.assign(new PassThrough({ encoding: 'utf8' }), { isTTY: true, columns: 80 });
  const progress = await openProgress({ stdout: stderr, stderr, env: {} }, maxBytesPerSecond);
  progress.show('capture', done, total);
  progress.stop();
  const [first = ''] = String(stderr.read()).split('\r');
  return stripVTControlCharacters(first).replace('\u001b7', ''); // where the cursor is, saved
}

test('shows no bytes before the total is known', async () => {
  expect(await shown(0, 0)).toMatch(/^capture {2}\[-{30}\]$/);
  expect(await shown(0, 0, MIB)).toMatch(/^capture {2}\[-{18}\]$/);
});

test('shows the time left in whole seconds, and nothing when none is left', async () => {
  expect(await shown(0, 10 * MIB)).toMatch(/\] 0% of 10 MiB$/);
  expect(await shown(0, 10 * MIB, 10 * MIB)).toMatch(/\] 0% of 10 MiB, 1 s left at 10 MiB\/s$/);
  expect(await shown(0, 610 * MIB, 5 * MIB)).toMatch(/, 2 min 2 s left at 5\.0 MiB\/s$/);
  expect(await shown(10 * MIB, 10 * MIB, MIB)).toMatch(/\] 100% of 10 MiB$/);
});
