import { existsSync, writeFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { leveldbBackend, startServer } from '../../src/server/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { beforeTables } from './slow-tables.ts';
import { smallLsm } from './small-lsm.ts';

// A node of a fleet as a process of its own. Its wall clock may be wrong.
//
// With a settings file it has plans, and `FILE.stalls` beside that keeps it from reading a snapshot for a push; `FILE.stalled` says that
// it has come to that. While `DATADIR.slow` is there no table is copied, and `DATADIR.copying` says that one would be.
//
//     node fleet-node.js DATADIR lsm|leveldb PORT CLOCK_OFFSET_MS [SETTINGS]

const [dataDir, engine, port, offset, settings] = process.argv.slice(2) as [
  ...[string, string, string, string],
  string | undefined,
];
const { clock } = systemEnvironment;
const { pool } = beforeTables(async () => {
  if (existsSync(`${dataDir}.slow`)) writeFileSync(`${dataDir}.copying`, '');
  while (existsSync(`${dataDir}.slow`)) await setTimeout(20);
});
const run = (async (...task: Parameters<typeof pool.run>) => {
  if (task[0] === 'digestFiles' && existsSync(`${settings}.stalls`)) {
    writeFileSync(`${settings}.stalled`, '');
    await new Promise<never>(() => undefined);
  }
  return pool.run(...task);
}) as typeof pool.run;
const { url } = await startServer({
  dataDir,
  backend: engine === 'lsm' ? smallLsm() : leveldbBackend(),
  port: Number(port),
  ...(settings !== undefined && { settings }),
  environment: {
    ...systemEnvironment,
    pool: { ...pool, run },
    clock: {
      nowMs: () => clock.nowMs() + Number(offset),
      monotonicMs: () => clock.monotonicMs(),
      every: (ms, call) => clock.every(ms, call),
    },
  },
});
process.stdout.write(`${JSON.stringify({ url })}\n`);
