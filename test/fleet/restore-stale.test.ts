import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, onTestFinished, test } from 'vitest';
import { StillpointError } from '../../src/errors.ts';
import { runFleet } from '../../src/fleet/fleet.ts';
import { restoreFleet } from '../../src/fleet/restore/restore-fleet.ts';
import { compiled } from '../support/build.ts';
import { fleetFileFor, type NodeProcess, nodeProcesses } from '../support/fleet-processes.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

// Two controllers restore two backups into the same nodes, and one of them sleeps in the middle of its work.

interface Told {
  readonly complete: boolean;
  readonly count: number;
  readonly codes: readonly string[];
}

/** A restore in a process of its own that stops at a moment. Undefined when it ended before that. */
async function stopped(file: string, dir: string, moment: number | string) {
  const entry = compiled('test/support/fleet-controller.ts');
  const args = [entry, 'restore', file, dir, String(moment), 'SIGSTOP'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const closed = once(child, 'close');
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const first = String((await lines.next()).value);
  if (first.startsWith('{')) return { told: JSON.parse(first) as Told };
  return {
    at: first,
    /** Lets it go on to its end. */
    async wake(): Promise<Told> {
      child.kill('SIGCONT');
      const { value } = await lines.next();
      await closed;
      return JSON.parse(String(value));
    },
  };
}

const each = <T>(nodes: readonly NodeProcess[], ask: (node: NodeProcess) => Promise<T>): Promise<T[]> =>
  Promise.all(nodes.map(ask));
const values = (nodes: readonly NodeProcess[]) => each(nodes, (node) => node.get('state'));

test('a controller of a restore that slept while another restored the same nodes leaves no mixture of the two', async () => {
  const nodes = await nodeProcesses(['a', 'b']);
  const file = await fleetFileFor(nodes);
  const backupOf = async (state: string) => {
    const layoutDir = join(await temporaryFolder(), state);
    await each(nodes, (node) => node.put('state', state));
    expect(await runFleet(file, { layoutDir })).toMatchObject({ complete: true });
    return layoutDir;
  };
  const [slow, quick] = [await backupOf('slow'), await backupOf('quick')];
  // In the quick run: when the copies are sent and nothing keeps the other away.
  const moments = await perTier<() => Promise<(number | string)[]>>(
    async () => ['before POST /api/admin/hold'],
    async () => {
      const { told } = await stopped(file, slow, 0);
      return Array.from({ length: Math.ceil(told!.count / 3) }, (_, i) => 1 + 3 * i);
    },
  )();

  const seen: Record<string, number> = {};
  for (const moment of moments) {
    await each(nodes, (node) => node.writable());
    await each(nodes, (node) => node.put('state', 'new'));
    const sleeper = await stopped(file, slow, moment);
    if (sleeper.wake === undefined) continue; // this time there were fewer
    const at = `stopped ${sleeper.at}`;
    // Its leases run out meanwhile; what it holds, it holds.
    const other = await restoreFleet(quick, { fleetFile: file, patienceMs: 3_000 }).catch(
      (error: StillpointError) => error,
    );
    const isRestored = !(other instanceof StillpointError) && other.complete;
    // A node that was asked to exchange its files does so meanwhile, whoever sleeps.
    if (isRestored) expect(await values(nodes), at).toEqual(['quick', 'quick']);
    else expect(await values(nodes), at).not.toContain('quick');
    const woken = await sleeper.wake();
    const found = await values(nodes);
    expect(new Set(found).size, `${at}: ${found}`).toBe(1);
    // One that slept when it had let go of all nodes was over, and the other came after it.
    const wasOver = isRestored && /release|DELETE/.test(sleeper.at ?? '');
    if (woken.complete) expect(found, at).toEqual(wasOver ? ['quick', 'quick'] : ['slow', 'slow']);
    else expect(woken.codes.length, at).toBeGreaterThan(0);
    const outcome = `${isRestored ? 'other restored' : 'other refused'}, sleeper ${woken.complete ? 'complete' : woken.codes}`;
    seen[outcome] = (seen[outcome] ?? 0) + 1;
    // Both can be called again: the last one has the nodes.
    for (const [dir, state] of [
      [slow, 'slow'],
      [quick, 'quick'],
    ] as const) {
      expect(await restoreFleet(dir, { fleetFile: file }), at).toMatchObject({ complete: true });
      expect(await values(nodes), at).toEqual([state, state]);
    }
    await each(nodes, (node) => node.writable());
  }
  console.log('slept', seen);
});
