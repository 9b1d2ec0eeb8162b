import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test, vi } from 'vitest';
import { listBackups } from '../../src/backup/list-backups.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { listSchedules } from '../../src/schedule/index.ts';
import { compiled } from '../support/build.ts';
import { outcomeOf, startProcess, stillpoint } from '../support/command.ts';
import { writeTree } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

class Service {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly seen: string[] = [];

  /** Its clock begins a moment before a minute ends. */
  constructor(file: string, minute: string) {
    const began = String(Date.parse(minute) - 1500);
    this.#child = spawn(process.execPath, [compiled('test/support/schedule-service.ts'), file, began], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void this.#child.kill('SIGKILL'));
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    const line = String((await this.#lines.next()).value);
    this.seen.push(line);
    return line;
  }

  async event(): Promise<{ id: string; due: string; status: string }> {
    return JSON.parse(await this.line());
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    this.#child.kill(signal);
    await once(this.#child, 'exit');
  }
}

/** A webhook: what was told, in its order. */
async function webhook() {
  const told: string[] = [];
  const server = createServer(async (request, reply) => {
    const { kind, due_at, error } = JSON.parse(await text(request));
    told.push(`${kind} ${due_at} ${error}`);
    reply.end();
  }).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close().closeAllConnections());
  await once(server, 'listening');
  return { told, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` };
}

async function setUp(alerts?: object) {
  const folder = await temporaryFolder();
  const repository = join(folder, 'backups');
  await initRepository(repository);
  writeTree(join(folder, 'data'), { large: Buffer.alloc(60_000_000, 'x'), small: 's' });
  const file = join(folder, 'stillpoint.json');
  const settings = {
    version: 1,
    stores: { orders: { data_dir: 'data', engine: 'files' } },
    repositories: { offsite: { destination: 'backups' } },
    plans: {
      often: { store: 'orders', repository: 'offsite', backup: '* * * * *', retention: { keep_last: 1 } },
    },
    ...(alerts && { alerts }),
  };
  writeFileSync(file, JSON.stringify(settings));
  const backups = async () =>
    (await listBackups({ from: repository })).stores.flatMap((store) => store.backups);
  return { file, backups };
}

test('a service backs up when it is due; killed in the middle, the next one goes on with what is due next', async () => {
  const { told, url } = await webhook();
  const { file, backups } = await setUp({ webhook: { url } });
  const first = new Service(file, '2026-11-26T12:01:00Z');
  const due = { id: 'often/backup', due: '2026-11-26T12:01:00.000Z' };
  expect(await first.event()).toMatchObject({ ...due, status: 'running' });
  await first.stop('SIGKILL');
  const before = await backups();
  expect((await listSchedules(file)).schedules).toMatchObject([
    { lastStatus: 'interrupted', lastSuccessMs: null },
  ]);

  const second = new Service(file, '2026-11-26T12:02:00Z');
  const next = { id: 'often/backup', due: '2026-11-26T12:02:00.000Z' };
  expect(await second.event()).toMatchObject({ ...next, status: 'running' });
  expect(await second.event()).toMatchObject({ ...next, status: 'succeeded', error: null });
  await vi.waitUntil(() => told.length >= 2, { timeout: 60_000 });
  await second.stop('SIGTERM');
  expect(await second.line()).toBe('ended');
  // Once each: the run of 12:02 was told as good news, and nothing by the first service.
  expect(told).toEqual([
    'failed 2026-11-26T12:01:00.000Z the process ended in the middle of it',
    'recovered 2026-11-26T12:02:00.000Z null',
  ]);
  expect((await backups()).length).toBe(1); // what the first made, if it came so far, is pruned
  expect(before.length).toBeLessThanOrEqual(1);
  const listed = await stillpoint(['schedule', 'list', file]);
  expect(listed.stdout).toMatch(/often +backup .*succeeded/);
});

test('of two services with the same plans one runs each due time', async () => {
  const { file, backups } = await setUp();
  // The plan begins with the first that sees it.
  const early = new Service(file, '2026-11-26T12:00:10Z');
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await early.stop('SIGTERM');
  const both = [new Service(file, '2026-11-26T12:01:00Z'), new Service(file, '2026-11-26T12:01:00Z')];
  const winner = await Promise.race(both.map(async (one) => ({ one, event: await one.event() })));
  expect(winner.event).toMatchObject({ status: 'running' });
  expect(await winner.one.event()).toMatchObject({ status: 'succeeded' });
  for (const one of both) await one.stop('SIGTERM');
  expect(both.find((one) => one !== winner.one)!.seen).toEqual(['ended']); // that line ended its race
  expect(await backups()).toHaveLength(1);
});

test.each([
  ['SIGTERM', 0],
  ['SIGHUP', 130],
  ['SIGINT', 130],
] as const)(
  'the command ends at %s with %i, so that a supervisor knows whether to start it again',
  async (signal, code) => {
    const { file } = await setUp();
    const child = startProcess(['schedule', 'run', file]);
    const outcome = outcomeOf(child);
    // The schedule begins once it listens to signals.
    await vi.waitUntil(() => existsSync(join(dirname(file), 'data/.lifecycle/jobs.sqlite')), {
      timeout: 60_000,
    });
    child.kill(signal);
    expect(await outcome).toMatchObject({ code, stdout: 'ended\n' });
  },
);
