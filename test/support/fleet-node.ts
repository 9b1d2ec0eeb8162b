import { leveldbBackend, startServer } from '../../src/server/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { smallLsm } from './small-lsm.ts';

// A node of a fleet as a process of its own. Its wall clock may be wrong.
//
//     node fleet-node.js DATADIR lsm|leveldb PORT CLOCK_OFFSET_MS

const [dataDir, engine, port, offset] = process.argv.slice(2) as [string, string, string, string];
const { clock } = systemEnvironment;
const { url } = await startServer({
  dataDir,
  backend: engine === 'lsm' ? smallLsm() : leveldbBackend(),
  port: Number(port),
  environment: {
    ...systemEnvironment,
    clock: {
      nowMs: () => clock.nowMs() + Number(offset),
      monotonicMs: () => clock.monotonicMs(),
      every: (ms, call) => clock.every(ms, call),
    },
  },
});
process.stdout.write(`${JSON.stringify({ url })}\n`);
