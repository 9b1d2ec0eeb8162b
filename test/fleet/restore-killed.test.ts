import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { runFleet } from '../../src/fleet/fleet.ts';
import { restoreFleet, undoFleetRestore } from '../../src/fleet/restore/restore-fleet.ts';
import { compiled } from '../support/build.ts';
import { chanceFrom } from '../support/chance.ts';
import { outcomeOf } from '../support/command.ts';
import { fleetFileFor, type NodeProcess, nodeProcesses } from '../support/fleet-processes.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier, SEED } from '../support/tier.ts';

// The controller of a restore is killed at a record of its journal or at a request, over nodes that are real processes.

async function controller(
  work: 'restore' | 'undo',
  file: string,
  dir: string,
  moment = 0,
): Promise<{ code: number | null; text: string }> {
  const entry = compiled('test/support/fleet-controller.ts');
  const child = spawn(process.execPath, [entry, work, file, dir, String(moment)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const { code, stdout, stderr } = await outcomeOf(child);
  if (code !== null && code !== 0) throw new Error(stderr);
  return { code, text: stdout.trim() };
}

const each = <T>(nodes: readonly NodeProcess[], ask: (node: NodeProcess) => Promise<T>): Promise<T[]> =>
  Promise.all(nodes.map(ask));
const values = (nodes: readonly NodeProcess[]) => each(nodes, (node) => node.get('state'));

/** Whether the moment lies before the first request for a hold: then only leases keep writes away. Renewals of those come also later. */
const isBeforeHold = (text: string): boolean =>
  /quiesce(?!.*"epoch")|PUT |"step":"(sent|quiesced|saved)"/.test(text);

/** Whether any node is held without an end; a lease does not count. */
async function anyHeld(nodes: readonly NodeProcess[]): Promise<boolean> {
  const states = await each(nodes, async ({ url }) => (await fetch(`${url}/api/admin/status`)).json());
  return (states as { quiesced: { expires_at_ms: number | null } | null }[]).some(
    ({ quiesced }) => quiesced !== null && quiesced.expires_at_ms === null,
  );
}

test('a restore or undo whose controller is killed at any record or request leaves no node down before the hold, and is finished by the next call', async () => {
  const nodes = await nodeProcesses(['a', 'b']);
  const file = await fleetFileFor(nodes);
  const dir = join(await temporaryFolder(), 'backup');
  await each(nodes, (node) => node.put('state', 'old'));
  expect(await runFleet(file, { layoutDir: dir })).toMatchObject({ complete: true });
  await each(nodes, (node) => node.put('state', 'new'));
  const whole = async (work: 'restore' | 'undo') => {
    const { code, text } = await controller(work, file, dir);
    expect(code).toBe(0);
    const told = JSON.parse(text);
    expect(told.complete).toBe(true);
    return told.count as number;
  };
  const points = { restore: await whole('restore'), undo: await whole('undo') };
  expect(await values(nodes)).toEqual(['new', 'new']);
  expect(points.restore).toBeGreaterThan(40);
  expect(points.undo).toBeGreaterThan(20);

  const chance = chanceFrom(SEED);
  const momentsOf = (count: number, sample: number): number[] => {
    const all = Array.from({ length: count }, (_, i) => i + 1);
    const stride = perTier(Math.ceil(count / sample), 1);
    const first = perTier(Math.floor(chance() * stride), 0);
    return all.filter((_, i) => i % stride === first);
  };
  const seen: Record<string, number> = { free: 0, held: 0 };
  const killed = async (work: 'restore' | 'undo', moment: number, before: string) => {
    const { code, text } = await controller(work, file, dir, moment);
    if (code === 0) return; // this time there were fewer
    const found = await values(nodes);
    if (new Set(found).size === 1 && found[0] === before && !(await anyHeld(nodes))) {
      seen.free!++;
      await each(nodes, (node) => node.writable()); // at the latest when its lease ends
      await each(nodes, (node) => node.put('state', before));
    } else {
      seen.held!++;
      expect(isBeforeHold(text), `held after: ${text}`).toBe(false);
    }
  };
  for (const moment of momentsOf(points.restore, 2)) {
    await killed('restore', moment, 'new');
    expect(await restoreFleet(dir, { fleetFile: file }), `restore ${moment}`).toMatchObject({
      complete: true,
    });
    expect(await values(nodes), `restore ${moment}`).toEqual(['old', 'old']);
    const undone = await undoFleetRestore(dir, { fleetFile: file });
    expect(undone, `undo after ${moment}`).toMatchObject({ complete: true, undone: true });
    expect(await values(nodes), `undo after ${moment}`).toEqual(['new', 'new']);
    await each(nodes, (node) => node.writable());
    await each(nodes, (node) => node.put('state', 'new'));
  }
  for (const moment of momentsOf(points.undo, 1)) {
    await restoreFleet(dir, { fleetFile: file });
    await killed('undo', moment, 'old');
    const options = { fleetFile: file, discardWrites: true };
    const undone = await undoFleetRestore(dir, options).catch((error) => error);
    // It may have been killed when all was done.
    if (undone.code !== 'NOT_FOUND')
      expect(undone, `${moment}`).toMatchObject({ complete: true, undone: true });
    expect(await values(nodes), `undo ${moment}`).toEqual(['new', 'new']);
    await each(nodes, (node) => node.writable());
  }
  console.log('killed', seen);
});
