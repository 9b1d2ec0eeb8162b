import { setImmediate } from 'node:timers/promises';
import { runFleet } from '../../src/fleet/fleet.ts';
import { RecordLog } from '../../src/fleet/journal/record-log.ts';
import { restoreFleet, undoFleetRestore } from '../../src/fleet/restore/restore-fleet.ts';
import { HttpConnection } from '../../src/rpc/http.ts';

// The controller of a fleet that kills or stops itself at a chosen moment: before or after a record of its journal, before a request to a
// node, or after its answer, which is then lost. A moment is its number, or text in its name. Without one it tells how many there are.
//
//     node fleet-controller.js run|restore|undo FLEETFILE DIR [MOMENT [SIGKILL|SIGSTOP]]

const [work, fleetFile, dir, moment = '0', signal = 'SIGKILL'] = process.argv.slice(2) as string[] &
  [string, string, string];
const LEASE_MS = Number(process.env.LEASE_MS ?? 1000);
let count = 0;
let last = '';
let isOver = moment === '0';

async function reach(what: string): Promise<void> {
  count++;
  last = what;
  if (isOver || !(/^\d+$/.test(moment) ? count === Number(moment) : what.includes(moment))) return;
  isOver = true;
  process.stdout.write(`${what}\n`, () => process.kill(process.pid, signal));
  if (signal === 'SIGKILL') await new Promise(() => {});
  else await setImmediate();
}

const { commit } = RecordLog.prototype;
RecordLog.prototype.commit = async function (record) {
  const what = JSON.stringify(record).slice(0, 60);
  await reach(`before the record ${what}`);
  await commit.call(this, record);
  await reach(`after the record ${what}`);
};

const { call } = HttpConnection.prototype;
HttpConnection.prototype.call = async function (request, limit) {
  // How often a node is asked how far it is depends on the time.
  if (request.method === 'GET' || request.path.endsWith('/prove')) return call.call(this, request, limit);
  const what = `${request.method} ${request.path} ${JSON.stringify(request.body)?.slice(0, 60)}`;
  await reach(`before ${what}`);
  const reply = await call.call(this, request, limit);
  await reach(`after ${what}`);
  return reply;
};

const result =
  work === 'run'
    ? await runFleet(fleetFile, { layoutDir: dir, leaseMs: LEASE_MS })
    : work === 'restore'
      ? await restoreFleet(dir, { fleetFile, leaseMs: LEASE_MS })
      : await undoFleetRestore(dir, { fleetFile, leaseMs: LEASE_MS });
const codes =
  'nodes' in result ? result.nodes.flatMap((node) => ('error' in node ? (node.error?.code ?? []) : [])) : [];
process.stdout.write(`${JSON.stringify({ complete: result.complete, count, last, codes })}\n`);
