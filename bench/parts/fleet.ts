import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { Agent, type IncomingMessage, request } from 'node:http';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { runFleet } from '../../src/fleet/index.ts';
import { type CpuLimit, cpuLimit } from '../lib/cpu-limit.ts';
import { randomValue } from '../lib/data.ts';
import { type Bench, type Part, type Row, seconds } from '../lib/part.ts';
import { median, type Spread, spreadOf } from '../lib/stats.ts';
import { removeAll } from '../lib/workspace.ts';

const MOST = 1.5;
const VALUE = { valueBytes: 4096, isCompressed: false };
const MOST_NODE_BYTES = 10e6;
const EVERY_MS = 10;
/** Of the processors, for the controller and the writers while the nodes are limited. */
const LEFT_PROCESSORS = 0.5;
const CHILD = fileURLToPath(new URL('../lib/fleet-node.js', import.meta.url));

interface Node {
  readonly id: string;
  readonly url: string;
  readonly child: ChildProcess;
}

/** How long a unit is without writes beside its slowest node alone: server processes that are written to all the time. */
export const fleet: Part = {
  name: 'fleet',
  measures: '13',
  async run(bench: Bench) {
    const [unitCount, perUnit] = bench.options.isQuick ? [2, 2] : [3, 4];
    const nodes = await Promise.all(Array.from({ length: unitCount * perUnit }, (_, i) => begin(bench, i)));
    const limits: CpuLimit[] = [];
    try {
      const units = Array.from({ length: unitCount }, (_, i) => nodes.slice(i * perUnit, (i + 1) * perUnit));
      const shared = await roundsOf(bench, units);
      const rows = rowsOf('', shared);
      const part = (availableParallelism() - LEFT_PROCESSORS) / nodes.length;
      const isLimited = nodes.every(({ id, child }) => {
        const limit = cpuLimit(id, part);
        if (limit === undefined) return false;
        limits.push(limit);
        limit.add(child.pid!);
        return true;
      });
      if (!isLimited) return { rows, raw: { shared } };
      const limited = await roundsOf(bench, units);
      return {
        rows: [...rows, ...rowsOf(`, each node with ${part} of a processor of its own`, limited)],
        raw: { shared, limited },
      };
    } finally {
      await Promise.all(
        nodes.map(async ({ child }) => {
          child.kill('SIGKILL');
          await once(child, 'exit');
        }),
      );
      for (const limit of limits) limit.remove();
    }
  },
};

async function roundsOf(bench: Bench, units: readonly (readonly Node[])[]): Promise<Round[]> {
  const rounds: Round[] = [];
  for (let round = 0; round <= bench.options.rounds; round++) {
    const taken = await measure(bench, units);
    if (round > 0) rounds.push(taken); // the first one warms up
  }
  return rounds;
}

async function begin({ root, options }: Bench, i: number): Promise<Node> {
  const id = `node-${i}`;
  const args = [CHILD, join(root, id), i % 2 === 0 ? 'lsm' : 'leveldb'];
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'ignore'] });
  const [url] = (await once(createInterface(child.stdout!), 'line')) as [string];
  const values = Math.ceil(Math.min(options.sizeBytes / 100, MOST_NODE_BYTES) / VALUE.valueBytes);
  for (let k = 0; k < values; k++) await put(url, `key-${k}`, randomValue(VALUE));
  return { id, url, child };
}

const agent = new Agent({ keepAlive: true });

/** Not `fetch`, whose cost in processor time is what the nodes would be short of. */
async function put(url: string, key: string, value: string): Promise<boolean> {
  const sent = request(`${url}/kv/${key}`, { method: 'PUT', agent }).end(value);
  const [reply] = (await once(sent, 'response')) as [IncomingMessage];
  await once(reply.resume(), 'end');
  return reply.statusCode === 200;
}

/** Writes at a steady pace until it is told to end; then says the longest time between two writes that were taken. */
function writing({ url }: Node): () => Promise<number> {
  let isOver = false;
  const work = (async () => {
    let longestMs = 0;
    let lastMs = performance.now();
    while (!isOver) {
      if (await put(url, 'written', String(lastMs))) {
        const nowMs = performance.now();
        longestMs = Math.max(longestMs, nowMs - lastMs);
        lastMs = nowMs;
      }
      await setTimeout(EVERY_MS);
    }
    return longestMs;
  })();
  return () => {
    isOver = true;
    return work;
  };
}

interface Round {
  /** Of each unit, and of each of its nodes in a run of its own: the longest time that a writer had to wait. */
  readonly units: readonly { readonly ms: number; readonly alone: readonly number[] }[];
  /** The same of all units, all at once. */
  readonly together: readonly number[];
}

async function measure(bench: Bench, units: readonly (readonly Node[])[]): Promise<Round> {
  const measured: Round['units'][number][] = [];
  for (const unit of units) {
    const alone: number[] = [];
    for (const node of unit) alone.push((await waitsIn(bench, [[node]]))[0]!);
    measured.push({ ms: (await waitsIn(bench, [unit]))[0]!, alone });
  }
  return { units: measured, together: await waitsIn(bench, units) };
}

/** One run of these units; the longest wait in each. Only their own nodes are written to. */
async function waitsIn({ root, options }: Bench, units: readonly (readonly Node[])[]): Promise<number[]> {
  const [file, layoutDir] = [join(root, 'fleet.json'), join(root, 'fleet-backup')];
  removeAll(layoutDir);
  writeFileSync(
    file,
    JSON.stringify({
      fleet: 'bench',
      nodes: units.flat().map(({ id, url }) => ({ id, url })),
      units: units.map((unit, i) => ({ id: `unit-${i}`, nodes: unit.map(({ id }) => id) })),
    }),
  );
  const ends = units.map((unit) => unit.map(writing));
  await setTimeout(options.isQuick ? 50 : 500);
  const { complete } = await runFleet(file, { layoutDir });
  if (!complete) throw new Error('the fleet was not backed up');
  return Promise.all(ends.map(async (unit) => Math.max(...(await Promise.all(unit.map((end) => end()))))));
}

function rowsOf(where: string, rounds: readonly Round[]): Row[] {
  const all = rounds.flatMap(({ units }) => units);
  const slowest = all.map(({ alone }) => Math.max(...alone));
  const sums = all.map(({ alone }) => alone.reduce((sum, ms) => sum + ms, 0));
  const row = (what: string, times: readonly number[], ratio: Spread): Row => ({
    measure: 13,
    what,
    measured: `${seconds(median(times))}; its slowest node alone ${seconds(median(slowest))}, the sum ${seconds(median(sums))}`,
    ratio,
    target: `≤ ${MOST} ×`,
    isMet: ratio.median <= MOST,
    limit: '',
  });
  const over = (times: readonly number[]) => spreadOf(times.map((ms, i) => ms / slowest[i]!));
  const single = all.map(({ ms }) => ms);
  const together = rounds.flatMap((round) => round.together);
  return [
    row(`time without writes, a unit of ${all[0]!.alone.length} nodes${where}`, single, over(single)),
    row(
      `time without writes, ${rounds[0]!.units.length} such units at once${where}`,
      together,
      over(together),
    ),
  ];
}
