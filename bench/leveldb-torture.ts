import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs, promisify } from 'node:util';
import { ClassicLevel } from 'classic-level';
import type { Engine, PlanRounds } from '../src/engine/engine.ts';
import { createLeveldbEngine } from '../src/engine/leveldb/create-engine.ts';
import { nodeFileSystem } from '../src/env/node-file-system.ts';
import { BackupCoordinator } from '../src/index.ts';
import { prove, readAll, Writer } from '../test/support/leveldb.ts';
import { COUNTER, WorkloadModel } from '../test/support/leveldb-workload.ts';

// Snapshots of a LevelDB database under a second process that writes a workload known in advance, each opened with
// classic-level and held against the one state that its counter names (invariant 5). Beside them, in the same run, what
// people do without this library, so that the check is known to be able to fail. Then in one process with the database:
// with the gate a snapshot must be exactly what was acknowledged, and the writers' own delays say what that costs.

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '300' },
    naive: { type: 'string', default: '100' },
    gated: { type: 'string', default: '100' },
    dir: { type: 'string', default: tmpdir() },
    json: { type: 'boolean', default: false },
  },
});

interface Spread {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

interface Outcome {
  readonly way: string;
  readonly taken: number;
  readonly bad: number;
  readonly failed: number;
  readonly rounds?: Spread | undefined;
  readonly window_ms?: Spread | undefined;
  readonly logs_first?: number | undefined;
  readonly total_ms?: Spread;
  readonly writer_delay_ms?: Spread;
  readonly first_problem: string | null;
}

type Take = (dir: string, into: string) => Promise<string>;

const root = await mkdtemp(join(values.dir, 'stillpoint-torture-'));
const outcomes: Outcome[] = [];
try {
  outcomes.push(await underSecondProcess('snapshot, copy', Number(values.count), snapshots('copy')));
  outcomes.push(await underSecondProcess('snapshot, link', Number(values.count), snapshots('link')));
  outcomes.push(
    await underSecondProcess('snapshot, copy, logs first', Number(values.count), snapshots('copy', 0)),
  );
  outcomes.push(
    await underSecondProcess('cp -r', Number(values.naive), {
      rounds: [],
      async take(dir, into) {
        await promisify(execFile)('cp', ['-r', dir, into]);
        return into;
      },
    }),
  );
  outcomes.push(
    await underSecondProcess('fs.promises.cp', Number(values.naive), {
      rounds: [],
      async take(dir, into) {
        await cp(dir, into, { recursive: true });
        return into;
      },
    }),
  );
  outcomes.push(await inProcess('in-process, no snapshots', 'none'));
  outcomes.push(await inProcess('in-process, without the gate', 'open'));
  outcomes.push(await inProcess('in-process, with the gate', 'gated'));
} finally {
  await rm(root, { recursive: true, force: true });
}
print();
const ours = outcomes.filter(({ way }) => way !== 'cp -r' && way !== 'fs.promises.cp');
if (ours.some(({ bad, failed }) => bad + failed > 0)) process.exitCode = 1;

function snapshots(mode: 'copy' | 'link', windowRounds?: number): { take: Take; rounds: PlanRounds[] } {
  const rounds: PlanRounds[] = [];
  const engine = recording(createLeveldbEngine(windowRounds === undefined ? {} : { windowRounds }), rounds);
  return {
    rounds,
    async take(dataDir) {
      return (await new BackupCoordinator({ dataDir, engine }).backup({ mode, keep: 2 })).location;
    },
  };
}

/** The same engine, noting how each plan came about. */
function recording(engine: Engine, rounds: PlanRounds[]): Engine {
  return {
    ...engine,
    async plan(context) {
      const plan = await engine.plan(context);
      if (plan.rounds !== undefined) rounds.push(plan.rounds);
      return plan;
    },
  };
}

async function underSecondProcess(
  way: string,
  count: number,
  { take, rounds }: { take: Take; rounds: PlanRounds[] },
): Promise<Outcome> {
  const folder = await mkdtemp(join(root, 'run-'));
  const dir = join(folder, 'db');
  const writer = await Writer.start(dir);
  const model = new WorkloadModel();
  const problems: string[] = [];
  const durations: number[] = [];
  let failed = 0;
  let bad = 0;
  for (let index = 0; index < count; index++) {
    const { acknowledged } = await writer.state();
    const began = performance.now();
    const location = await take(dir, join(folder, `copy-${index}`)).catch((error: unknown) => {
      problems.push(`not taken: ${String(error).slice(0, 200)}`);
      failed++;
      return undefined;
    });
    durations.push(performance.now() - began);
    const { issued } = await writer.state();
    if (location === undefined) continue;
    const problem = await problemOf(location, model, acknowledged, issued);
    if (problem !== undefined) {
      problems.push(problem);
      bad++;
    }
    if (location.startsWith(join(folder, 'copy-'))) await rm(location, { recursive: true });
  }
  const { acknowledged } = await writer.stop();
  // What the writer leaves must be whole, or the captures harmed it.
  const left = await problemOf(dir, model, acknowledged, acknowledged);
  const errors = (await prove(dir, 'full', true)).findings.filter(({ severity }) => severity === 'error');
  if (left !== undefined || errors.length > 0) {
    problems.unshift(`the source was harmed: ${left ?? JSON.stringify(errors[0])}`);
    bad++;
  }
  return {
    way,
    taken: count - failed,
    bad,
    failed,
    ...spreads(rounds),
    total_ms: spread(durations),
    first_problem: problems[0] ?? null,
  };
}

async function problemOf(
  dir: string,
  model: WorkloadModel,
  atLeast: number,
  atMost: number,
): Promise<string | undefined> {
  try {
    const found = await readAll(dir);
    const number = Number(found.get(COUNTER) ?? 0);
    if (number < atLeast || number > atMost) return `state ${number} is not within ${atLeast} and ${atMost}`;
    return model.difference(found);
  } catch (error) {
    return `does not open: ${String((error as { cause?: unknown }).cause ?? error)}`;
  }
}

/** Eight writers in this process; how long each single write took, and whether each snapshot is what was acknowledged. */
async function inProcess(way: string, how: 'none' | 'open' | 'gated'): Promise<Outcome> {
  const dir = join(await mkdtemp(join(root, 'run-')), 'db');
  const db = new ClassicLevel<string, string>(dir, { writeBufferSize: 256 * 1024 });
  await db.open();
  const levels = createLeveldbEngine(how === 'gated' ? { database: db } : {});
  const rounds: PlanRounds[] = [];
  const acknowledged = new Map<string, string>();
  let expected = new Map<string, string>();
  const recorded = recording(levels, rounds);
  const engine: Engine = {
    ...recorded,
    plan: (context) =>
      recorded.plan({
        ...context,
        fs: {
          ...context.fs,
          // The folder is looked at only while the gate is closed: the last look sees the state that is captured.
          async list(path) {
            const entries = await nodeFileSystem.list(path);
            expected = new Map(acknowledged);
            return entries;
          },
        },
      }),
  };
  const delays: number[] = [];
  let isRunning = true;
  const writers = Array.from({ length: 8 }, async (_, writer) => {
    for (let number = 1; isRunning; number++) {
      const key = `writer-${writer}-${number % 200}`;
      const value = String(number).padEnd(100 + ((number * 131) % 900), '.');
      const began = performance.now();
      if (number % 7 === 0) await db.del(key);
      else await db.put(key, value);
      delays.push(performance.now() - began);
      if (number % 7 === 0) acknowledged.delete(key);
      else acknowledged.set(key, value);
    }
  });
  const count = Number(values.gated);
  const problems: string[] = [];
  let bad = 0;
  const durations: number[] = [];
  const backup = new BackupCoordinator({ dataDir: dir, engine });
  for (let index = 0; index < count; index++) {
    const began = performance.now();
    if (how === 'none')
      await db.get('nothing', { fillCache: false }).then(() => new Promise((next) => setTimeout(next, 50)));
    else {
      const { location } = await backup.backup({ keep: 2 });
      durations.push(performance.now() - began);
      const wanted = expected;
      const found = await readAll(location);
      const isExact =
        found.size === wanted.size && [...wanted].every(([key, value]) => found.get(key) === value);
      if (how === 'gated' && !isExact) {
        problems.push(`snapshot ${index} is not what was acknowledged`);
        bad++;
      }
    }
  }
  isRunning = false;
  await Promise.all(writers);
  levels.detach();
  await db.close();
  return {
    way,
    taken: how === 'none' ? 0 : count,
    bad,
    failed: 0,
    ...spreads(rounds),
    ...(durations.length > 0 ? { total_ms: spread(durations) } : {}),
    writer_delay_ms: spread(delays),
    first_problem: problems[0] ?? null,
  };
}

function spreads(rounds: readonly PlanRounds[]): Pick<Outcome, 'rounds' | 'window_ms' | 'logs_first'> {
  if (rounds.length === 0) return {};
  const windows = rounds.filter(({ way }) => way === 'window').map(({ windowMs }) => windowMs);
  return {
    rounds: spread(rounds.map(({ count }) => count)),
    window_ms: windows.length > 0 ? spread(windows) : undefined,
    logs_first: rounds.length - windows.length,
  };
}

function spread(numbers: readonly number[]): Spread {
  const sorted = [...numbers].sort((a, b) => a - b);
  const at = (share: number): number =>
    Number((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(2));
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

function print(): void {
  if (values.json) {
    console.log(JSON.stringify(outcomes, undefined, 1));
    return;
  }
  const show = (value: Spread | undefined): string =>
    value === undefined ? '–' : `${value.p50} / ${value.p99} / ${value.max}`;
  for (const outcome of outcomes) {
    const { way, taken, bad, failed, first_problem } = outcome;
    console.log(`${way.padEnd(30)} ${taken} taken, ${bad} bad, ${failed} not taken`);
    const lines: [string, Spread | undefined][] = [
      ['rounds', outcome.rounds],
      ['window ms', outcome.window_ms],
      ['whole ms', outcome.total_ms],
      ["a write's delay ms", outcome.writer_delay_ms],
    ];
    for (const [name, value] of lines) {
      if (value !== undefined) console.log(`${' '.repeat(31)}${name} (p50 / p99 / max): ${show(value)}`);
    }
    if (outcome.logs_first) console.log(`${' '.repeat(31)}logs first: ${outcome.logs_first}`);
    if (first_problem !== null) console.log(`${' '.repeat(31)}first problem: ${first_problem}`);
  }
}
