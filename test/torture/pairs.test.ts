import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { BackupCoordinator, Lifecycle, Snapshots, verifySnapshot } from '../../src/index.ts';
import { type Flow, Host, type Reply } from '../support/host.ts';
import { headsIn, openDatabase } from '../support/host-database.ts';
import { inlineEnvironment } from '../support/inline.ts';
import { seeded } from '../support/seeded.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier, SEED } from '../support/tier.ts';

const ROUNDS = perTier(1, 20);

const OPERATIONS: readonly Flow[] = ['snapshot', 'restore', 'undo', 'into', 'verify', 'prune', 'delete'];
const PAIRS = OPERATIONS.flatMap((one, i) => OPERATIONS.slice(i).map((other) => [one, other] as const));

const startHost = (): Host => {
  const host = new Host();
  onTestFinished(() => host.kill());
  return host;
};

test(`two processes that work on one data directory, in all ${PAIRS.length} pairs of operations, lose nothing (invariant 11)`, async () => {
  const root = await temporaryFolder();
  const dir = join(root, 'data');
  const [one, other] = [startHost(), startHost()];
  for (const host of [one, other]) {
    await host.do({ do: 'attach', dir: await fill(dir, 1), engine: 'lsm' });
  }
  const random = seeded(SEED);
  const known = new Set([String([1, 1, 1, 1])]);
  let state = 1;
  const conflicts: string[] = [];
  for (let round = 0; round < ROUNDS * PAIRS.length; round++) {
    const pair = PAIRS[round % PAIRS.length]!;
    // Another state each time, and enough snapshots for every operation to find its work.
    await fill(dir, ++state);
    known.add(String([state, state, state, state]));
    const backup = new BackupCoordinator({
      dataDir: dir,
      lifecycle: new Lifecycle({ dataDir: dir, environment: inlineEnvironment }),
    });
    do await backup.backup();
    while ((await new Snapshots({ dataDir: dir }).list()).snapshots.length < 4);
    if (pair.includes('undo') && !existsSync(join(dir, '.lifecycle/restore-backup')))
      await one.do({ do: 'restore' });

    const oldest = (await new Snapshots({ dataDir: dir }).list()).snapshots[0]!.name;
    const ask = (host: Host, flow: Flow, target: string): Promise<Reply | undefined> => {
      // Half of the readers take the snapshot that is the first to go.
      const source = ['verify', 'into', 'restore'].includes(flow) && random() < 0.5 ? { source: oldest } : {};
      const delayMs = Math.floor(random() * 25);
      return host.ask({ do: flow, delayMs, target: join(root, target), keep: 2, ...source });
    };
    const replies = await Promise.all([ask(one, pair[0], 'into-one'), ask(other, pair[1], 'into-other')]);

    const what = `${pair} in round ${round}: ${JSON.stringify(replies)}`;
    for (const [i, reply] of replies.entries()) {
      // What is not there any more cannot be read; everything else that is in the way is a conflict.
      const isReader = ['verify', 'into', 'restore', 'delete'].includes(pair[i]!);
      const allowed = [undefined, 'CONFLICT', ...(isReader ? ['NOT_FOUND'] : [])];
      expect(allowed, what).toContain(reply!.code);
      if (reply!.code !== undefined) conflicts.push(`${pair[i]} ${reply!.code}`);
      if (pair[i] === 'verify' && reply!.code === undefined)
        expect(reply!.value, what).toMatchObject({ ok: true });
    }
    expect(
      replies.some((reply) => reply!.code === undefined),
      what,
    ).toBe(true);
    await expectOrder(dir, what);
    expect(known, what).toContain(String(await headsIn('lsm', dir, join(root, 'read'))));
    for (const name of readdirSync(root).filter((name) => name.startsWith('into-'))) {
      expect(known, what).toContain(String(await headsIn('lsm', join(root, name), join(root, 'read'))));
      rmSync(join(root, name), { recursive: true });
    }
  }
  expect(conflicts).not.toEqual([]); // else they were never at work at once
});

/** Brings the database to commit `number` of each writer. */
async function fill(dir: string, number: number): Promise<string> {
  const database = await openDatabase('lsm', dir);
  for (let writer = 0; writer < 4; writer++) {
    for (let head = 1; head <= number; head++) await database.commit(writer, head);
  }
  await database.close();
  return dir;
}

async function expectOrder(dir: string, what: string): Promise<void> {
  const backup = join(dir, '.lifecycle/backup');
  expect(
    readdirSync(backup).filter((name) => name.startsWith('.')),
    what,
  ).toEqual([]);
  const staged = join(dir, '.lifecycle/restore');
  expect(existsSync(staged) ? readdirSync(staged) : [], what).toEqual([]);
  const { latest, snapshots } = await new Snapshots({ dataDir: dir }).list();
  expect(
    snapshots.map(({ name }) => name),
    what,
  ).toContain(latest);
  for (const { location, problem } of snapshots) {
    expect(problem, what).toBeNull();
    expect(
      (await verifySnapshot(location, { level: 'files', environment: inlineEnvironment })).findings,
      what,
    ).toEqual([]);
  }
}

test('what one process holds is refused to another until its death', async () => {
  const root = await temporaryFolder();
  const dir = join(root, 'data');
  for (const engine of ['lsm', 'leveldb'] as const) {
    const folder = `${dir}-${engine}`;
    const [owner, other] = [startHost(), startHost()];
    await owner.do({ do: 'attach', dir: await openAndClose(engine, folder), engine });
    await owner.do({ do: 'open' });
    await owner.do({ do: 'write' });
    await owner.do({ do: 'snapshot' });
    await other.do({ do: 'attach', dir: folder, engine });
    expect(await other.ask({ do: 'open' })).toMatchObject({
      code: engine === 'lsm' ? 'CONFLICT' : 'INTERNAL',
    });
    expect(await other.ask({ do: 'restore' })).toMatchObject({ code: 'CONFLICT' });
    await owner.do({ do: 'verify' });
    const under = owner.ask({ do: 'snapshot', options: { reuse: false }, death: { phase: 'prove' } });
    expect(await under).toBeUndefined();
    await owner.ended;
    expect(owner.wasKilled, owner.errors).toBe(true);
    // All its locks died with it: the database's, the lifecycle's, the readers'.
    await other.do({ do: 'open' });
    await other.do({ do: 'snapshot' });
    await other.do({ do: 'restore' });
    expect((await new Snapshots({ dataDir: folder }).list()).snapshots).toHaveLength(2);
  }
});

async function openAndClose(engine: 'lsm' | 'leveldb', dir: string): Promise<string> {
  const database = await openDatabase(engine, dir);
  await database.commit(0, 1);
  await database.close();
  return dir;
}
