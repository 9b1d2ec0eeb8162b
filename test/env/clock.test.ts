import { expect, test } from 'vitest';
import { pause, yieldToEventLoop } from '../../src/env/clock.ts';

test('many may wait on one signal, and Node.js does not warn of a leak', async () => {
  const warnings: string[] = [];
  const onWarning = ({ name }: Error) => warnings.push(name);
  process.on('warning', onWarning);
  const { signal } = new AbortController();
  await Promise.all(Array.from({ length: 30 }, () => pause(1, signal)));
  await yieldToEventLoop(); // warnings are told later
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
});
