import { execFileSync } from 'node:child_process';
import { appendFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { Snapshots, verifySnapshot } from '../../src/index.ts';
import { mountInMemory } from '../support/file-systems.ts';
import { Host } from '../support/host.ts';
import type { EngineUnderTest } from '../support/host-database.ts';
import { inlineEnvironment } from '../support/inline.ts';
import { withRights } from '../support/needs.ts';
import { diskFolder, temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

// What a host meets when the system has no more to give: each time a clear error, a database that serves on, nothing lost, and once
// there is more again, the next snapshot succeeds.

const MiB = 1024 * 1024;
const ENGINES = ['lsm', 'leveldb'] as const;

async function startHost(dir: string, engine: EngineUnderTest): Promise<Host> {
  const host = new Host();
  onTestFinished(() => host.kill());
  await host.start(engine, dir);
  await expectServing(host);
  return host;
}

/** Fills what is free of the disk that `dir` is on, and returns what gives it back. */
function ballast(dir: string): () => void {
  const path = join(dir, 'ballast');
  for (let bytes = 64 * 1024; bytes >= 1; bytes = Math.floor(bytes / 4)) {
    try {
      for (;;) appendFileSync(path, Buffer.alloc(bytes, 1));
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
    }
  }
  return () => rmSync(path);
}

/** Nothing half done stands anywhere, and each snapshot proves. */
async function expectOrder(dir: string, count: number): Promise<void> {
  const backup = join(dir, '.lifecycle/backup');
  expect(readdirSync(backup).filter((name) => name.startsWith('.p') || name.startsWith('.d'))).toEqual([]);
  const { latest, snapshots } = await new Snapshots({ dataDir: dir }).list();
  expect(snapshots.map(({ problem }) => problem)).toEqual(Array(count).fill(null));
  expect(latest).toBe(snapshots.at(-1)!.name);
  for (const { location } of snapshots) {
    expect((await verifySnapshot(location, { environment: inlineEnvironment })).findings).toEqual([]);
  }
}

/** Closes and opens a database that takes no more writes: every acknowledged one is there, and further ones are taken. */
async function reopen(host: Host): Promise<void> {
  const acknowledged = [...host.acknowledged];
  await host.do({ do: 'close' });
  await host.do({ do: 'open' });
  expect(host.acknowledged).toEqual(acknowledged);
  host.refused.length = 0;
  await host.do({ do: 'write' });
  await expectServing(host);
}

async function expectServing(host: Host): Promise<void> {
  const before = [...host.acknowledged];
  await expect
    .poll(() => host.acknowledged.every((head, i) => head > before[i]!), { timeout: 60_000 })
    .toBe(true);
  expect(host.refused).toEqual([]);
  const heads = await host.do({ do: 'read' });
  expect(heads.every((head: number, i: number) => head >= before[i]!)).toBe(true);
}

for (const engine of ENGINES) {
  test(`${engine}: the disk of the snapshots is full, or fills up at any step`, async (context) => {
    const root = await temporaryFolder();
    const dir = join(root, 'data');
    const lifecycle = join(dir, '.lifecycle');
    mountInMemory(context, lifecycle, 8 * MiB);
    const host = await startHost(dir, engine);
    await host.do({ do: 'snapshot' });
    let count = 1;
    const free = ballast(lifecycle);
    expect(await host.ask({ do: 'snapshot' })).toMatchObject({ code: 'NO_SPACE' });
    free();
    for (const stopAt of perTier(['capture', 'mark'], ['checkpoint', 'capture', 'seal', 'mark'])) {
      let letGo = () => {};
      const reply = await host.askWith({ do: 'snapshot', stopAt, options: { reuse: false } }, () => {
        letGo = ballast(lifecycle);
      });
      expect(reply, stopAt).toMatchObject({ code: 'NO_SPACE' });
      await expectServing(host);
      letGo();
      // What failed at the marker stands, whole and proven, and `latest` does not name it.
      if (stopAt === 'mark') count++;
      await host.do({ do: 'snapshot' });
      await expectOrder(dir, ++count);
    }
    await expectServing(host);
  });
}

for (const engine of ENGINES) {
  test(`${engine}: the disk of the database itself is full`, async (context) => {
    const root = await temporaryFolder();
    const dir = join(root, 'data');
    mountInMemory(context, dir, 12 * MiB);
    const host = await startHost(dir, engine);
    await host.do({ do: 'snapshot' });
    const free = ballast(dir);
    expect(await host.ask({ do: 'snapshot' })).toMatchObject({ code: 'NO_SPACE' });
    // Sooner or later the writers meet it, each of them once; what they wrote until then can be read.
    await expect.poll(() => host.refused.length, { timeout: 60_000 }).toBe(4);
    expect(await host.do({ do: 'read' })).toEqual(host.acknowledged);
    free();
    await reopen(host);
    await host.do({ do: 'snapshot' });
    await expectOrder(dir, 2);
  });

  test(`${engine}: the folder of the snapshots becomes read-only at any step`, async (context) => {
    const root = await diskFolder();
    const dir = join(root, 'data');
    const backup = join(dir, '.lifecycle/backup');
    const host = await startHost(dir, engine);
    await host.do({ do: 'snapshot' });
    let count = 1;
    const allow = () => void execFileSync('chattr', ['-i', backup]);
    for (const stopAt of perTier(['seal', 'mark'], ['begin', 'capture', 'seal', 'publish', 'mark'])) {
      const reply = await host.askWith({ do: 'snapshot', stopAt }, () =>
        withRights(context, 'chattr', '+i', backup),
      );
      try {
        expect(reply, stopAt).toMatchObject({ code: 'ACCESS_DENIED' });
        // As long as it lasts the next one is refused in the same way.
        expect(await host.ask({ do: 'snapshot' })).toMatchObject({ code: 'ACCESS_DENIED' });
        await expectServing(host);
      } finally {
        allow();
      }
      if (stopAt === 'mark') count++;
      await host.do({ do: 'snapshot' });
      await expectOrder(dir, ++count);
    }
  });
}

test('lsm: few descriptors', async (context) => {
  const root = await temporaryFolder();
  const dir = join(root, 'data');
  const host = await startHost(dir, 'lsm');
  const limit = (count: number) =>
    withRights(context, 'prlimit', '--pid', `${host.pid}`, `--nofile=${count}:`);
  const open = readdirSync(`/proc/${host.pid}/fd`).length;
  let taken = 0;
  for (const more of perTier([0, 12], [0, 8, 12, 16, 24])) {
    limit(open + more);
    // An opening that finds no descriptor waits for one, up to a minute; a thread that finds none is refused.
    const reply = host.ask({ do: 'snapshot', options: { reuse: false } });
    await Promise.race([reply, setTimeout(500)]);
    limit(1024);
    const { code, message } = (await reply) ?? {};
    expect([undefined, 'IO_ERROR'], `${more} more than ${open}: ${code} ${message} ${host.errors}`).toContain(
      code,
    );
    if (code === undefined) taken++;
    await expectServing(host);
  }
  await host.do({ do: 'snapshot' });
  await expectOrder(dir, taken + 1);
});

test('lsm: a limit on the size of files', async (context) => {
  const root = await temporaryFolder();
  const dir = join(root, 'data');
  const host = await startHost(dir, 'lsm');
  await host.do({ do: 'snapshot' });
  const limit = (bytes: number | string) =>
    withRights(context, 'prlimit', '--pid', `${host.pid}`, `--fsize=${bytes}:`);
  // The writing of the log, in place and within its first segment, is what this may stop last.
  limit(1_000);
  expect(await host.ask({ do: 'snapshot', options: { reuse: false } })).toMatchObject({ code: 'IO_ERROR' });
  await expect.poll(() => host.refused.length, { timeout: 60_000 }).toBe(4);
  expect(host.refused).toEqual(Array(4).fill('IO_ERROR'));
  expect(await host.do({ do: 'read' })).toEqual(host.acknowledged);
  limit('unlimited');
  await reopen(host);
  await host.do({ do: 'snapshot' });
  await expectOrder(dir, 2);
});
