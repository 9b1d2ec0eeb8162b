import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { findTools } from './lib/command.ts';
import { Data } from './lib/data.ts';
import { describeMachine, isInMemory } from './lib/machine.ts';
import { parseOptions } from './lib/options.ts';
import { type Bench, type Part, type PartResult, type Row, seconds } from './lib/part.ts';
import { draw } from './lib/svg.ts';
import { resultTable, timesTable } from './lib/table.ts';
import { openWorkspace } from './lib/workspace.ts';
import { console } from './parts/console.ts';
import { fleet } from './parts/fleet.ts';
import { fleetScaling } from './parts/fleet-scaling.ts';
import { growth } from './parts/growth.ts';
import { host } from './parts/host.ts';
import { link } from './parts/link.ts';
import { memory } from './parts/memory.ts';
import { neighbour } from './parts/neighbour.ts';
import { offsite } from './parts/offsite.ts';
import { peers } from './parts/peers.ts';
import { restore } from './parts/restore.ts';
import { scaling } from './parts/scaling.ts';
import { second } from './parts/second.ts';
import { start } from './parts/start.ts';
import { stream } from './parts/stream.ts';
import { verify } from './parts/verify.ts';

// `npm run bench -- --help`. Compiled first, since what is installed is compiled too: threads that start with a loader of
// TypeScript in them would be measured with it.

const PARTS: readonly Part[] = [
  peers,
  stream,
  restore,
  verify,
  second,
  host,
  neighbour,
  memory,
  scaling,
  link,
  start,
  offsite,
  fleet,
  fleetScaling,
  console,
  growth,
];

const tell = (line: string) => process.stderr.write(`${line}\n`);
const options = parseOptions(
  process.argv.slice(2),
  PARTS.map(({ name }) => name),
);
const tools = findTools();
const machine = describeMachine(options.dir, tools);
if (isInMemory(machine) && !options.isQuick) {
  tell(
    `${options.dir} is ${machine.file_system}, where nothing is durable; name a folder on a disk with --dir`,
  );
  process.exit(2);
}
const root = openWorkspace(options.dir);
const data = new Data(root, options.sizeBytes, (line) => tell(`  ${line}`));
const bench: Bench = { options, root, data, tools, target: join(root, 'target') };

const results: { part: Part; result: PartResult }[] = [];
const failures: { part: string; reason: string }[] = [];
for (const part of PARTS) {
  if (options.only.length > 0 && !options.only.includes(part.name)) continue;
  tell(`${part.name} (measure ${part.measures})`);
  const began = performance.now();
  try {
    results.push({ part, result: await part.run(bench) });
    tell(`  done in ${seconds(performance.now() - began)}`);
  } catch (error) {
    const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
    failures.push({ part: part.name, reason });
    tell(`  failed: ${reason}`);
  }
  writeJson();
}

writeCharts();
process.stdout.write(`${report().join('\n\n')}\n`);
process.exitCode = failures.length > 0 ? 1 : 0;

function rowsSoFar(): Row[] {
  return results.flatMap(({ result }) => result.rows).sort((a, b) => a.measure - b.measure);
}

/** After each part: half an hour of measuring must not be lost with the last of them. */
function writeJson(): void {
  if (options.json === undefined) return;
  const parts = Object.fromEntries(
    results.map(({ part, result }) => [part.name, { times: result.times, raw: result.raw }]),
  );
  const document = {
    taken_at: new Date().toISOString(),
    machine,
    options,
    rows: rowsSoFar(),
    parts,
    failures,
  };
  mkdirSync(dirname(options.json), { recursive: true });
  writeFileSync(options.json, JSON.stringify(document, undefined, 1));
}

function writeCharts(): void {
  if (options.svgDir === undefined) return;
  mkdirSync(options.svgDir, { recursive: true });
  for (const chart of results.flatMap(({ result }) => result.charts ?? [])) {
    writeFileSync(join(options.svgDir, `${chart.name}.svg`), draw(chart));
  }
}

function report(): string[] {
  const timed = results.flatMap(({ part, result }) =>
    result.times === undefined ? [] : [{ name: part.name, times: result.times }],
  );
  const absent = Object.entries(tools)
    .filter(([, version]) => version === null)
    .map(([tool]) => tool);
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.file_system}, Node.js ${machine.node}; ${options.rounds} rounds`,
    ...(options.isQuick ? ['--quick: the figures mean nothing'] : []),
    ...(absent.length > 0 ? [`absent: ${absent.join(', ')}`] : []),
    resultTable(rowsSoFar()),
    ...(timed.length > 0 ? [timesTable(timed)] : []),
    ...failures.map(({ part, reason }) => `${part} failed: ${reason}`),
  ];
}
