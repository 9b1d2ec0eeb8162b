import { setTimeout } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { adaptiveThrottle, type HostWatch, watchHost } from '../../src/env/adaptive-throttle.ts';
import type { Clock } from '../../src/env/clock.ts';

/** A clock that is moved by hand, and a run that notes its pauses as [begin, length]. */
function stage(isSuffering: () => boolean) {
  let now = 0;
  let tick = () => {};
  const clock: Clock = {
    nowMs: () => now,
    monotonicMs: () => now,
    every(_intervalMs, call) {
      tick = call;
      return () => {
        tick = () => {};
      };
    },
  };
  const pauses: [number, number][] = [];
  const host: HostWatch & { resets: number } = {
    isSuffering,
    resets: 0,
    reset() {
      this.resets++;
    },
    stop() {
      this.resets = -1;
    },
  };
  const end = adaptiveThrottle({ pause: (ms) => pauses.push([now, ms]) }, host, clock);
  const advance = (ms: number) => {
    for (const until = now + ms; now < until; ) {
      now += 100;
      tick();
    }
  };
  return { pauses, host, end, advance };
}

it('pauses longer and longer while the host suffers, and still works a tenth of the time', () => {
  const { pauses, advance } = stage(() => true);
  advance(60_000);
  expect(pauses.slice(0, 6).map(([, ms]) => ms)).toEqual([100, 200, 400, 800, 900, 900]);
  for (const [i, [begin]] of pauses.slice(1).entries()) {
    const [before, ms] = pauses[i]!;
    expect(begin - (before + ms)).toBeGreaterThanOrEqual(100);
  }
  const [last] = pauses.pop()!;
  expect(pauses.reduce((sum, [, ms]) => sum + ms, 0)).toBeLessThanOrEqual(0.9 * last);
});

it('never pauses while the host is well, and comes back step by step after it was not', () => {
  let isSuffering = false;
  const { pauses, advance } = stage(() => isSuffering);
  advance(5_000);
  expect(pauses).toEqual([]);
  isSuffering = true;
  advance(1_000); // 100, 200, 400 and the work between them
  expect(pauses.map(([, ms]) => ms)).toEqual([100, 200, 400]);
  isSuffering = false;
  advance(60_000);
  expect(pauses.map(([, ms]) => ms)).toEqual([100, 200, 400, 200, 100]);
});

it('judges what the host felt while the run worked, and lets go of it in the end', () => {
  const { host, end, advance, pauses } = stage(() => true);
  advance(200); // a pause of 100 began at 100 and was over at 200, when a new judgement began
  expect(host.resets).toBe(3);
  end();
  expect(host.resets).toBe(-1);
  advance(5_000);
  expect(pauses).toHaveLength(1);
});

it('notices that the event loop is late', async () => {
  const watch = watchHost(30, () => false);
  while (!watch.isSuffering()) {
    await setTimeout(20);
    const end = performance.now() + 60;
    while (performance.now() < end);
    await setTimeout(20);
  }
  watch.reset();
  expect(watch.isSuffering()).toBe(false);
  watch.stop();
});

it('trusts what the host reports', () => {
  let isBusy = false;
  const watch = watchHost(60_000, () => isBusy);
  expect(watch.isSuffering()).toBe(false);
  isBusy = true;
  expect(watch.isSuffering()).toBe(true);
  watch.stop();
});
