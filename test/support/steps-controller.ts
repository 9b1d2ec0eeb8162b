import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runFleetBackup } from '../../src/fleet/run/run-in-parallel.ts';
import { SimulatedNodes, simulatedExecutor } from './fleet.ts';

// A controller as a process of its own, over nodes that are files: what was done to them is known when it is killed.

/** Where it kills itself: a command as the nodes see it, before or after its effect; empty for never. With STALL it waits there to be killed. */
const [layoutDir = '', world = '', killPoint = ''] = process.argv.slice(2);
const { STEPS_URL: stepsUrl } = process.env;

const file = join(world, 'nodes.json');
const nodes = new SimulatedNodes();
if (existsSync(file)) {
  const { stopped, snapshots } = JSON.parse(readFileSync(file, 'utf8'));
  for (const id of stopped) nodes.stopped.add(id);
  for (const [key, id] of snapshots) nodes.snapshots.set(key, id);
}

const dieAt = (point: string) => {
  if (point !== killPoint) return undefined;
  if (process.env.STALL === undefined) process.kill(process.pid, 'SIGKILL');
  process.stdout.write('stalls\n');
  return new Promise<never>(() => setInterval(() => {}, 1000));
};
const executor = simulatedExecutor(nodes, undefined, {
  before: (command) => dieAt(`before ${command}`),
  after(command, { key }) {
    writeFileSync(file, JSON.stringify({ stopped: [...nodes.stopped], snapshots: [...nodes.snapshots] }));
    appendFileSync(join(world, 'effects'), `${command}\t${key}\n`);
    return dieAt(`after ${command}`);
  },
});
const result = await runFleetBackup({ layoutDir, stepsUrl }, executor);
process.stdout.write(`${JSON.stringify(result)}\n`);
