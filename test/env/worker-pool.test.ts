import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import type { Worker } from 'node:worker_threads';
import { expect, it, vi } from 'vitest';
import { RunControl } from '../../src/env/run-control.ts';
import { smallHere, type TaskMap, threadPool, type WorkerPool } from '../../src/env/worker-pool.ts';
import { temporaryFolder } from '../support/temp.ts';

/** A worker that cannot start before a file called `ready` stands beside it; its tasks answer with their arguments. */
const ENTRY = `
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { existsSync } from 'node:fs';
if (!existsSync(new URL('ready', import.meta.url))) throw new RangeError('not ready');
export default async ({ args }) => {
  if (args === 'die') process.exit(7);
  return { value: args };
};`;

async function poolThatCannotStart() {
  const dir = await temporaryFolder();
  await writeFile(join(dir, 'entry.mjs'), ENTRY);
  const pool = threadPool<TaskMap>(pathToFileURL(join(dir, 'entry.mjs')), 2);
  return { pool, mend: () => writeFile(join(dir, 'ready'), '') };
}

it('rejects every task when a thread cannot start, each time, and starts anew with the next', async () => {
  const { pool, mend } = await poolThatCannotStart();
  for (let time = 0; time < 2; time++) {
    const tasks = [1, 2, 3, 4, 5, 6].map((n) => pool.run('echo', n, new RunControl()));
    for (const result of await Promise.allSettled(tasks)) {
      expect(result).toMatchObject({
        status: 'rejected',
        reason: { code: 'INTERNAL', cause: { message: 'not ready' } },
      });
    }
  }
  await mend();
  expect(await pool.run('echo', 7, new RunControl())).toBe(7);
});

it('is of use again once what it needs can be loaded', async () => {
  const { pool, mend } = await poolThatCannotStart();
  await mend();
  vi.doMock('piscina', () => {
    throw Object.assign(new Error('too many open files'), { code: 'EMFILE' });
  });
  await expect(pool.run('echo', 1, new RunControl())).rejects.toMatchObject({ code: 'IO_ERROR' });
  vi.doUnmock('piscina');
  expect(await pool.run('echo', 2, new RunControl())).toBe(2);
});

/** The first thread starts, any other one cannot; its task never ends. */
const LONELY_ENTRY = `
import { mkdirSync } from 'node:fs';
mkdirSync(new URL('first', import.meta.url));
export default async () => {
  mkdirSync(new URL('begun', import.meta.url));
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
};`;

it('rejects a task that a thread is at work on when that thread has ended, and not before', async () => {
  const dir = await temporaryFolder();
  await writeFile(join(dir, 'entry.mjs'), LONELY_ENTRY);
  const pool = threadPool<TaskMap>(pathToFileURL(join(dir, 'entry.mjs')), 2);
  const ended: boolean[] = [];
  const watch = (message: unknown) => {
    const index = ended.push(false) - 1;
    (message as { worker: Worker }).worker.once('exit', () => {
      ended[index] = true;
    });
  };
  subscribe('worker_threads', watch);
  try {
    const task = pool.run('work', 1, new RunControl()).finally(() => expect(ended[0]).toBe(true));
    while (!existsSync(join(dir, 'begun'))) await setTimeout(5);
    const other = pool.run('work', 2, new RunControl());
    for (const result of await Promise.allSettled([task, other]))
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'INTERNAL' } });
  } finally {
    unsubscribe('worker_threads', watch);
  }
});

it('tells of the cancelling and not of the thread when the run was cancelled meanwhile', async () => {
  const { pool } = await poolThatCannotStart();
  const control = new RunControl();
  const task = pool.run('echo', 1, control);
  control.cancel();
  await expect(task).rejects.toMatchObject({ code: 'CANCELLED' });
});

it('has a thread ready for work that is about to come, or lets the work itself tell why not', async () => {
  const { pool, mend } = await poolThatCannotStart();
  pool.prepare();
  await expect(pool.run('echo', 1, new RunControl())).rejects.toMatchObject({ code: 'INTERNAL' });
  await mend();
  let threads = 0;
  const count = () => threads++;
  subscribe('worker_threads', count);
  try {
    pool.prepare();
    while (threads === 0) await setTimeout(5);
    pool.prepare();
    expect(await pool.run('echo', 2, new RunControl())).toBe(2);
    expect(threads).toBe(1);
  } finally {
    unsubscribe('worker_threads', count);
  }
});

it('rejects the task whose thread dies, and goes on', async () => {
  const { pool, mend } = await poolThatCannotStart();
  await mend();
  await expect(pool.run('echo', 'die', new RunControl())).rejects.toMatchObject({ code: 'INTERNAL' });
  expect(await pool.run('echo', 8, new RunControl())).toBe(8);
});

/** The first thread starts at once, no other one as long as the folder stands; tasks named `wait` last until `open` is there. */
const SLOW_ENTRY = `
import { existsSync, mkdirSync } from 'node:fs';
const file = (name) => new URL(name, import.meta.url);
const waitWhile = (isSo) => {
  while (isSo()) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
};
try {
  mkdirSync(file('first'));
} catch {
  waitWhile(() => existsSync(file('first')));
}
export default async ({ name, args }) => {
  if (name === 'wait') waitWhile(() => !existsSync(file('open')));
  return { value: args };
};`;

it('gives a task to the thread that is idle, not to one that is still starting, and starts no more than there are tasks', async () => {
  const dir = await temporaryFolder();
  await writeFile(join(dir, 'entry.mjs'), SLOW_ENTRY);
  const pool = threadPool<TaskMap>(pathToFileURL(join(dir, 'entry.mjs')), 8);
  let threads = 0;
  const count = () => threads++;
  subscribe('worker_threads', count);
  try {
    const first = pool.run('wait', 1, new RunControl());
    while (!existsSync(join(dir, 'first'))) await setTimeout(5);
    const others = [2, 3].map((n) => pool.run('echo', n, new RunControl()));
    while (threads < 2) await setTimeout(5);
    await writeFile(join(dir, 'open'), '');
    expect(await Promise.all([first, ...others])).toEqual([1, 2, 3]);
    expect(threads).toBe(3);
  } finally {
    unsubscribe('worker_threads', count);
  }
});

const WAITING_ENTRY = `
import { existsSync, writeFileSync } from 'node:fs';
export default async ({ name, args }) => {
  writeFileSync(new URL('begun-' + args, import.meta.url), '');
  const cell = new Int32Array(new SharedArrayBuffer(4));
  while (name === 'wait' && !existsSync(new URL('open', import.meta.url))) Atomics.wait(cell, 0, 0, 5);
  return { value: args };
};`;

it('ends threads with foreign code that hang after a cancel, and lets no other task wait for them', async () => {
  const dir = await temporaryFolder();
  await writeFile(join(dir, 'entry.mjs'), WAITING_ENTRY);
  const pool = threadPool<TaskMap>(pathToFileURL(join(dir, 'entry.mjs')), 1);
  const control = new RunControl();
  const hanging = Array.from({ length: 5 }, (_, n) => pool.run('wait', n, control, 1, true));
  expect(await pool.run('echo', 'foreign', new RunControl(), 1, true)).toBe('foreign');
  expect(await pool.run('echo', 'own', new RunControl(), 1)).toBe('own');
  await vi.waitUntil(() => existsSync(join(dir, 'begun-0')), { timeout: 60_000 });
  control.cancel();
  for (const result of await Promise.allSettled(hanging))
    expect(result).toMatchObject({ status: 'rejected', reason: { code: 'CANCELLED' } });
  expect(await pool.run('echo', 'again', new RunControl(), 1, true)).toBe('again');
});

it('lets no run wait behind others that are held back', async () => {
  const dir = await temporaryFolder();
  await writeFile(join(dir, 'entry.mjs'), WAITING_ENTRY);
  const pool = threadPool<TaskMap>(pathToFileURL(join(dir, 'entry.mjs')), 1);
  const heldBack = () => {
    const control = new RunControl();
    control.rateLimiter.start();
    return control;
  };
  const waiting = Array.from({ length: 5 }, (_, n) => pool.run('wait', n, heldBack()));
  expect(await pool.run('echo', 'held back', heldBack())).toBe('held back');
  expect(await pool.run('echo', 'not held back', new RunControl())).toBe('not held back');
  await writeFile(join(dir, 'open'), '');
  expect(await Promise.all(waiting)).toEqual([0, 1, 2, 3, 4]);
});

it.each([
  ['as many as it may', undefined, 3], // one that computes, two that wait for the disk
  ['no more than they are worth', 4 * 1024 * 1024, 2],
  ['one where they are worth less', 1, 1],
])('for tasks that wait has %s', async (_, costBytes, most) => {
  const dir = await temporaryFolder();
  await writeFile(join(dir, 'entry.mjs'), WAITING_ENTRY);
  const pool = threadPool<TaskMap>(pathToFileURL(join(dir, 'entry.mjs')), 1);
  let threads = 0;
  const count = () => threads++;
  subscribe('worker_threads', count);
  try {
    const numbers = costBytes === undefined ? [1, 2, 3, 4, 5, 6, 7, 8] : [1, 2, 3];
    const tasks = numbers.map((n) => pool.run('wait', n, new RunControl(), costBytes));
    while (threads < most) await setTimeout(5);
    await writeFile(join(dir, 'open'), '');
    expect(await Promise.all(tasks)).toEqual(numbers);
    expect(threads).toBe(most);
  } finally {
    unsubscribe('worker_threads', count);
  }
});

it('drops the tasks of a cancelled run that wait for a thread, and no thread with them', async () => {
  const dir = await temporaryFolder();
  await writeFile(join(dir, 'entry.mjs'), WAITING_ENTRY);
  const pool = threadPool<TaskMap>(pathToFileURL(join(dir, 'entry.mjs')), 1);
  const [other, run] = [new RunControl(), new RunControl()];
  let ends = 0;
  const count = (message: unknown) => (message as { worker: Worker }).worker.once('exit', () => ends++);
  subscribe('worker_threads', count);
  try {
    // As many as there are threads: these last until the file is there.
    const busy = [1, 2, 3].map((n) => pool.run('wait', n, other));
    while (![1, 2, 3].every((n) => existsSync(join(dir, `begun-${n}`)))) await setTimeout(5);
    const queued = [4, 5, 6].map((n) => pool.run('echo', n, run));
    await setImmediate(); // until they stand in the queue
    run.cancel();
    for (const result of await Promise.allSettled(queued))
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'CANCELLED' } });
    other.cancel(); // what a thread has is its own to end
    await writeFile(join(dir, 'open'), '');
    expect(await Promise.all(busy)).toEqual([1, 2, 3]);
    expect(await pool.run('echo', 7, new RunControl())).toBe(7);
    expect(ends).toBe(0);
  } finally {
    unsubscribe('worker_threads', count);
  }
});

it('tells what has run out when a thread cannot open its own code', async () => {
  const dir = await temporaryFolder();
  const entry = join(dir, 'entry.mjs');
  await writeFile(entry, `throw Object.assign(new Error('too many'), { code: 'EMFILE' });`);
  const pool = threadPool<TaskMap>(pathToFileURL(entry), 1);
  await expect(pool.run('echo', 1, new RunControl())).rejects.toMatchObject({
    code: 'IO_ERROR',
    hint: expect.stringContaining('ulimit'),
  });
});

it('runs the first tasks of a command, and all small ones, in its own thread', async () => {
  const answering = (place: string) => ({ run: async () => place }) as unknown as WorkerPool<TaskMap>;
  const pool = smallHere(answering('here'), answering('thread'));
  const MiB = 1024 ** 2;
  const places: string[] = [];
  for (const cost of [48, 64, 32, 16, 8, 7, 7]) {
    places.push(await pool.run('task', 0, new RunControl(), cost * MiB));
  }
  expect(places).toEqual(['here', 'thread', 'here', 'here', 'thread', 'here', 'here']);
});

it('gives the event loop a turn before each task of a command, so that a cancel arrives', async () => {
  const inOwnThread = { run: async () => 'done' } as unknown as WorkerPool<TaskMap>;
  const pool = smallHere(inOwnThread, inOwnThread);
  let isDone = false;
  const turn = setImmediate().then(() => isDone);
  await pool.run('task', 0, new RunControl(), 1).then(() => {
    isDone = true;
  });
  expect(await turn).toBe(false);
});
