import { expect, test, vi } from 'vitest';
import { directoryOf, Lifecycle } from '../../src/operation/lifecycle.ts';
import type { Run } from '../../src/operation/run.ts';
import { type Prepared, RunCoordinator } from '../../src/operation/run-coordinator.ts';
import { plainDirectory } from '../support/folders.ts';

class Runs extends RunCoordinator<string> {
  readonly lifecycle: Lifecycle;

  constructor(lifecycle: Lifecycle) {
    super(directoryOf(lifecycle), ['backup']);
    this.lifecycle = lifecycle;
  }

  begin(signal: AbortSignal, prepare: (newRun: (location: string) => Run) => Promise<Prepared<string>>) {
    return this.start('backup', signal, (_admission, newRun) => prepare(newRun));
  }
}

test('a run that is ready only after it was given up is abandoned, and its place was free before', async () => {
  const runs = new Runs(new Lifecycle({ dataDir: await plainDirectory() }));
  const abort = new AbortController();
  let goOn = () => {};
  const hanging = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const [work, abandon] = [vi.fn(), vi.fn(async () => {})];
  const begun = runs.begin(abort.signal, async (newRun) => {
    abort.abort();
    await hanging;
    return { run: newRun('/nowhere'), work, abandon };
  });
  await expect(begun).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(runs.lifecycle.running).toBeUndefined();
  expect(abandon).not.toHaveBeenCalled();
  goOn();
  await vi.waitUntil(() => abandon.mock.calls.length === 1);
  expect(work).not.toHaveBeenCalled();
  expect(await runs.lifecycle.runs()).toEqual([]);
});
