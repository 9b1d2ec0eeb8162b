import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { RateLimiter } from '../../src/env/rate-limiter.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { threadPool } from '../../src/env/worker-pool.ts';
import type { Tasks } from '../../src/snapshot/tasks/signatures.ts';
import { compiled } from '../support/build.ts';
import { temporaryFolder } from '../support/temp.ts';

const MiB = 1024 * 1024;
const NS = 1_000_000_000n;
const ENTRY = pathToFileURL(compiled('src/snapshot/tasks/worker.ts'));

const elapsedMs = (since: bigint) => Number(process.hrtime.bigint() - since) / 1e6;

it('allows no more than the rate and a tenth of a second of it, from whichever moment on one counts', () => {
  const steps = fc.array(
    fc.record({ bytes: fc.nat(3 * MiB), waitMs: fc.nat(400), isPatient: fc.boolean() }),
    {
      maxLength: 60,
    },
  );
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 2 ** 30 }), (calls, rate) => {
      const rateLimiter = new RateLimiter(new SharedArrayBuffer(RateLimiter.SIZE_BYTES), 0);
      rateLimiter.start(rate);
      let now = process.hrtime.bigint();
      const charged = calls.map(({ bytes, waitMs, isPatient }) => {
        now += BigInt(waitMs) * 1_000_000n;
        const until = rateLimiter.charge(bytes, now);
        const call = { bytes: BigInt(bytes), at: now, until };
        if (isPatient && until > now) now = until; // one thread waits; another one may come meanwhile
        return call;
      });
      for (const [from, { at }] of charged.entries()) {
        let sum = 0n;
        for (const { bytes, until } of charged.slice(from)) {
          sum += bytes;
          const least = (sum * NS) / BigInt(rate) - NS / 10n - 100n; // 100: each division drops part of a nanosecond
          expect(until - at).toBeGreaterThanOrEqual(least);
        }
      }
    }),
  );
});

it('lets pass at once what comes slower than the rate', () => {
  const rateLimiter = new RateLimiter(new SharedArrayBuffer(RateLimiter.SIZE_BYTES), 0);
  rateLimiter.start(MiB);
  const begin = process.hrtime.bigint();
  for (let second = 1n; second < 100n; second++) {
    const now = begin + second * NS;
    expect(rateLimiter.charge(MiB, now)).toBeLessThanOrEqual(now + (NS * 9n) / 10n);
  }
});

it('never blocks the main thread', () => {
  const control = new RunControl();
  control.rateLimiter.start(1);
  control.rateLimiter.pause(10 * 60 * 1000);
  control.addBytes(2 ** 40);
  expect(control.bytes).toBe(2 ** 40);
});

const pool = threadPool<Tasks>(ENTRY, 1);

async function inThreads(fileBytes: number) {
  const root = await temporaryFolder();
  await writeFile(join(root, 'file'), Buffer.alloc(fileBytes, 1));
  const files = [{ path: 'file', level: 'files' as const, live: true }];
  return (control: RunControl) => pool.run('checkFiles', { root, engine: 'files', files }, control);
}

it('holds the rate over all threads together', async () => {
  const read = await inThreads(MiB);
  const control = new RunControl();
  const begin = process.hrtime.bigint();
  control.rateLimiter.start(8 * MiB);
  await Promise.all([read(control), read(control), read(control), read(control)]);
  expect(control.bytes).toBe(4 * MiB);
  expect(elapsedMs(begin)).toBeGreaterThan(400 - 1); // half a second, less the tenth that may be caught up on
});

it('pauses, and goes on by itself', async () => {
  const read = await inThreads(1000);
  const control = new RunControl();
  control.rateLimiter.start();
  const begin = process.hrtime.bigint();
  control.rateLimiter.pause(1500);
  await read(control);
  expect(elapsedMs(begin)).toBeGreaterThan(1500 - 1);
});

it('ends the wait when the run is cancelled', async () => {
  const read = await inThreads(3 * MiB);
  const control = new RunControl();
  control.rateLimiter.start(1);
  const reading = read(control);
  while (control.bytes === 0) await setTimeout(5);
  control.cancel();
  await expect(reading).rejects.toMatchObject({ code: 'CANCELLED' });
});

it('keeps no other run waiting behind those that are held back', async () => {
  const read = await inThreads(3 * MiB);
  const heldBack = new RunControl();
  heldBack.rateLimiter.start(1);
  const waiting = Array.from({ length: 20 }, () => read(heldBack));
  while (heldBack.bytes < 3 * MiB) await setTimeout(5); // every thread of that kind has had its piece
  const free = new RunControl();
  await read(free);
  expect(free.bytes).toBe(3 * MiB);
  heldBack.cancel();
  for (const result of await Promise.allSettled(waiting)) expect(result.status).toBe('rejected');
});
