import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { yieldToEventLoop } from '../../src/env/clock.ts';
import { timeLimit } from '../../src/env/time-limit.ts';
import { compiled } from '../support/build.ts';

test('it is aborted in time, with the others, and not once it has ended', async () => {
  const aborted = (signal: AbortSignal) =>
    new Promise<string>((resolve) => signal.addEventListener('abort', () => resolve(signal.reason.name)));
  expect(await aborted(timeLimit(20).signal)).toBe('TimeoutError');
  const other = new AbortController();
  const both = timeLimit(60_000, undefined, other.signal);
  other.abort();
  expect(both.signal).toMatchObject({ aborted: true, reason: { name: 'AbortError' } });
  both.end();
  expect(timeLimit(60_000, AbortSignal.abort()).signal.aborted).toBe(true);
  const ended = timeLimit(20);
  ended.end();
  await new Promise((resolve) => setTimeout(resolve, 60));
  expect(ended.signal.aborted).toBe(false);
});

test('many may share one signal, and Node.js does not warn of a leak', async () => {
  const warnings: string[] = [];
  const onWarning = ({ name }: Error) => warnings.push(name);
  process.on('warning', onWarning);
  const { signal } = new AbortController();
  for (const limit of Array.from({ length: 30 }, () => timeLimit(60_000, signal))) limit.end();
  await yieldToEventLoop(); // warnings are told later
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
});

test('it is aborted also where memory is collected while somebody waits for it', () => {
  const wait = `
    const { timeLimit } = await import(process.argv[1]);
    const { spawn } = await import('node:child_process');
    async function run({ signal }) {
      const child = spawn('sleep', ['20']);
      signal.addEventListener('abort', () => child.kill('SIGKILL'));
      setInterval(gc, 20).unref();
      await new Promise((resolve) => child.once('exit', resolve));
    }
    await run(timeLimit(300, new AbortController().signal));`;
  const args = ['--expose-gc', '--input-type=module', '-e', wait, compiled('src/env/time-limit.ts')];
  expect(spawnSync(process.execPath, args, { timeout: 15_000 })).toMatchObject({ status: 0, signal: null });
});
