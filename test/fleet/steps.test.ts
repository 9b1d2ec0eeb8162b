import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import pg from 'pg';
import { describe, expect, onTestFinished, test } from 'vitest';
import { StillpointError } from '../../src/errors.ts';
import { verifyFleetBackup } from '../../src/fleet/copies/integrity.ts';
import { executeBackupPlan } from '../../src/fleet/run/run-in-order.ts';
import { type FleetRunResult, runFleetBackup } from '../../src/fleet/run/run-in-parallel.ts';
import { compiled } from '../support/build.ts';
import { outcomeOf } from '../support/command.ts';
import { layoutWithPlan, planOf, type Script, SimulatedNodes, simulatedExecutor } from '../support/fleet.ts';
import { describeWith } from '../support/needs.ts';
import { hasPostgres, newDatabase } from '../support/postgres.ts';
import { temporaryFolder } from '../support/temp.ts';
import { isLong, perTier } from '../support/tier.ts';

// What both drivers of a run's steps promise, also when a controller is killed: one suite for each. The quick tier has a part of it.

const VERBS = ['stop', 'create', 'start', 'download'];
const POINTS = VERBS.flatMap((verb) =>
  ['root', 'b', 'c'].flatMap((id) => [`before ${verb} ${id}`, `after ${verb} ${id}`]),
);

function start(
  layoutDir: string,
  world: string,
  stepsUrl: string | undefined,
  killPoint = '',
  more: Readonly<Record<string, string>> = {},
): ChildProcess {
  const entry = compiled('test/support/steps-controller.ts');
  const env = { ...process.env, ...more, ...(stepsUrl !== undefined && { STEPS_URL: stepsUrl }) };
  const child = spawn(process.execPath, [entry, layoutDir, world, killPoint], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

async function resultOf(child: ChildProcess): Promise<FleetRunResult> {
  const { code, stdout, stderr } = await outcomeOf(child);
  if (code !== 0) throw new Error(`the controller ended with ${code}: ${stderr}`);
  expect(stderr).toBe('');
  return JSON.parse(stdout.trim().split('\n').at(-1)!);
}

const effectsIn = (world: string): { command: string; key: string }[] =>
  existsSync(join(world, 'effects'))
    ? readFileSync(join(world, 'effects'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => {
          const [command = '', key = ''] = line.split('\t');
          return { command, key };
        })
    : [];

/** Every effect was there once, but for those that were under way at the point: they may have come again, with the same key. */
function expectEachOnce(world: string, point: string): void {
  const effects = effectsIn(world);
  const keys = new Map<string, Set<string>>();
  for (const { command, key } of effects) keys.set(command, (keys.get(command) ?? new Set()).add(key));
  expect([...keys.keys()].sort()).toEqual(
    VERBS.flatMap((verb) => ['b', 'c', 'root'].map((id) => `${verb} ${id}`)).sort(),
  );
  for (const [command, found] of keys) expect([...found], `${command} killed ${point}`).toHaveLength(1);
  const again = effects.filter(({ command }, i) => effects.findIndex((one) => one.command === command) < i);
  const verb = point.split(' ')[1]!;
  // A snapshot ends on record after its node was started.
  const underWay = verb === 'start' ? ['start', 'create'] : [verb];
  for (const { command } of again)
    expect(underWay, `${command} killed ${point}`).toContain(command.split(' ')[0]);
}

function suite(newUrl: () => Promise<string | undefined>, isWhole: boolean): void {
  async function stage(script: Script = {}) {
    const stepsUrl = await newUrl();
    const { layoutDir, environment } = await layoutWithPlan(planOf());
    const nodes = new SimulatedNodes();
    const executor = simulatedExecutor(nodes, undefined, script);
    const run = (signal?: AbortSignal) =>
      runFleetBackup({ layoutDir, environment, stepsUrl, ...(signal && { signal }) }, executor);
    return { layoutDir, nodes, run, stepsUrl, executor, environment };
  }

  test('a failure and a lost lease are on record: the next run goes on from there, in a new window', async () => {
    const failing = new Map([
      ['create b', new StillpointError('LEASE_LOST', 'took writes')],
      ['download c', new StillpointError('NODE_UNREACHABLE', 'away')],
    ]);
    const { run, nodes, layoutDir } = await stage({
      before(command) {
        const error = failing.get(command);
        failing.delete(command);
        if (error !== undefined) throw error;
      },
    });
    expect(await run()).toMatchObject({
      complete: false,
      units: [{ state: 'failed', window: 2, error: { code: 'NODE_UNREACHABLE', message: 'away' } }],
    });
    expect(nodes.stopped).toEqual(new Set());
    const before = nodes.commands.length;
    expect(await run()).toMatchObject({ complete: true });
    expect(nodes.commands.slice(before)).toEqual(['download c']);
    expect(await verifyFleetBackup(layoutDir)).toMatchObject({ ok: true, verified: 3 });
  });

  if (!isWhole) return;

  test('a run is whole, and one that is finished does nothing again', async () => {
    const { run, nodes, layoutDir } = await stage();
    expect(await run()).toMatchObject({ complete: true, units: [{ state: 'complete', window: 1 }] });
    expect(await verifyFleetBackup(layoutDir)).toMatchObject({ ok: true, verified: 3, findings: [] });
    const before = nodes.commands.length;
    expect(await run()).toMatchObject({ complete: true, executedOperationCount: 0 });
    expect(nodes.commands).toHaveLength(before);
  });

  test('a cancelled run leaves no node stopped, and the next finishes it', async () => {
    const controller = new AbortController();
    const { run, nodes } = await stage({ after: (command) => command === 'create b' && controller.abort() });
    await expect(run(controller.signal)).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(nodes.stopped).toEqual(new Set());
    expect(await run()).toMatchObject({ complete: true });
  });

  test.each(perTier(['before start root'], POINTS))(
    'a controller that is killed %s is continued by the next, and no effect comes twice but what was under way',
    async (point) => {
      const { layoutDir, stepsUrl } = await stage();
      const world = await temporaryFolder();
      expect((await outcomeOf(start(layoutDir, world, stepsUrl, point))).code).toBeNull();
      expect(existsSync(join(layoutDir, 'fleet-manifest.json'))).toBe(false);
      expect(await resultOf(start(layoutDir, world, stepsUrl))).toMatchObject({ complete: true });
      expectEachOnce(world, point);
      expect(await verifyFleetBackup(layoutDir)).toMatchObject({ ok: true, verified: 3 });
    },
  );
}

describe('steps in the local journal', () => suite(async () => undefined, true));

describeWith('a PostgreSQL server (POSTGRES_URL)', hasPostgres, 'steps in PostgreSQL', () => {
  test('a run that another version has begun is refused, and not waited for', async () => {
    const url = await newDatabase();
    const { layoutDir, environment } = await layoutWithPlan(planOf());
    const world = await temporaryFolder();
    await once(start(layoutDir, world, url, 'before start root'), 'exit');
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query("update stillpoint_fleet.workflow_status set application_version = 'lanes-1'");
    await client.end();
    const executor = simulatedExecutor(new SimulatedNodes());
    await expect(runFleetBackup({ layoutDir, environment, stepsUrl: url }, executor)).rejects.toMatchObject({
      code: 'CONFLICT',
      message: 'another version of stillpoint has begun this run',
    });
  });

  suite(newDatabase, isLong);

  test.each(perTier(['after create root'], POINTS))(
    'of two controllers the one that waits finishes when the other is killed %s',
    async (point) => {
      const stepsUrl = await newDatabase();
      const { layoutDir } = await layoutWithPlan(planOf());
      const world = await temporaryFolder();
      const first = start(layoutDir, world, stepsUrl, point, { STALL: '1' });
      await once(first.stdout!, 'data');
      const second = resultOf(start(layoutDir, world, stepsUrl));
      await oneWaitsForTheLock(stepsUrl);
      const before = effectsIn(world).length;
      first.kill('SIGKILL');
      expect(await second).toMatchObject({ complete: true });
      expect(effectsIn(world).length).toBeGreaterThan(before);
      expectEachOnce(world, point);
      expect(await verifyFleetBackup(layoutDir)).toMatchObject({ ok: true, verified: 3 });
    },
  );

  test('a server that is not there is told, and its password is not', async () => {
    const { layoutDir, environment } = await layoutWithPlan(planOf());
    const stepsUrl = 'postgres://someone:secret@127.0.0.1:1/none';
    const failed = await runFleetBackup(
      { layoutDir, environment, stepsUrl },
      simulatedExecutor(new SimulatedNodes()),
    ).catch((error) => error);
    expect(failed).toMatchObject({ code: 'STEPS_UNAVAILABLE' });
    expect(String(failed.stack)).not.toContain('secret');
  });
  if (!isLong) return;

  test('a run whose session the server ends rejects, and the next call finishes it', async () => {
    const stepsUrl = await newDatabase();
    const { layoutDir, environment } = await layoutWithPlan(planOf());
    let isCut = false;
    const executor = simulatedExecutor(new SimulatedNodes(), undefined, {
      async before(command) {
        if (command !== 'create b' || isCut) return;
        isCut = true;
        await query(stepsUrl, "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'");
      },
    });
    const run = () => runFleetBackup({ layoutDir, environment, stepsUrl }, executor);
    await expect(run()).rejects.toMatchObject({ code: 'STEPS_UNAVAILABLE' });
    expect(await run()).toMatchObject({ complete: true });
  });

  test('a run has one driver: it is not continued with the other', async () => {
    const stepsUrl = await newDatabase();
    const shared = await layoutWithPlan(planOf());
    const executor = simulatedExecutor(new SimulatedNodes());
    await runFleetBackup({ ...shared, stepsUrl }, executor);
    await expect(executeBackupPlan(shared, executor)).rejects.toMatchObject({ code: 'CONFLICT' });
    const local = await layoutWithPlan(planOf({ runId: 'run-2' }));
    await executeBackupPlan({ ...local, maxSteps: 1 }, executor);
    await expect(runFleetBackup({ ...local, stepsUrl }, executor)).rejects.toMatchObject({
      code: 'CONFLICT',
    });
  });
});

async function query(url: string, statement: string): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(statement)).rowCount ?? 0;
  } finally {
    await client.end();
  }
}

async function oneWaitsForTheLock(url: string): Promise<void> {
  const waiting = "select 1 from pg_locks where locktype = 'advisory' and not granted";
  while ((await query(url, waiting)) === 0) await setTimeout(50);
}
