import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { FileSystem, OpenFile } from '../../src/env/file-system.ts';
import { createFile } from '../../src/env/io.ts';
import { buildPlan, topologyOf, writePlan } from '../../src/fleet/plan/plan.ts';
import { makeReceipts } from '../../src/fleet/plan/receipts.ts';
import type { TopologyNode } from '../../src/fleet/plan/topology.ts';
import type { FleetExecutor } from '../../src/fleet/run/executor.ts';
import { runFleetBackup } from '../../src/fleet/run/run-in-parallel.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';

// In a process of its own: a whole backup of simulated nodes in units of ten, whose copies are one small file each, and what it
// costs the controller.

const [layoutDir, text] = process.argv.slice(2) as [string, string];
const count = Number(text);

const counted = { journalBytes: 0, journalSyncs: 0, otherSyncs: 0 };

/** The methods of `real`, but for some. */
const changed = <T extends object>(real: T, changes: Partial<T>): T =>
  new Proxy(real, {
    get(target, name) {
      const own = changes[name as keyof T];
      if (own !== undefined) return own;
      const value = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });

const { fs: disk } = systemEnvironment;
const fs: FileSystem = changed(disk, {
  async open(path, how, pastCache) {
    const file = await disk.open(path, how, pastCache);
    const isJournal = path.includes('backup-journal');
    const synced = () => {
      if (isJournal) counted.journalSyncs++;
      else counted.otherSyncs++;
    };
    return changed<OpenFile>(file, {
      async write(source, position) {
        const written = await file.write(source, position);
        if (isJournal) counted.journalBytes += written;
        return written;
      },
      sync() {
        synced();
        return file.sync();
      },
      syncData() {
        synced();
        return file.syncData();
      },
    });
  },
  syncFolder(path) {
    counted.otherSyncs++;
    return disk.syncFolder(path);
  },
});

const nodes = Array.from({ length: count }, (_, i): TopologyNode => {
  const targetId = `node-${i}`;
  return {
    targetId,
    role: 'node',
    parent: null,
    identity: 'relocatable',
    storeId: `store-${i}`,
    engine: 'lsm',
  };
});
const units = Array.from({ length: count / 10 }, (_, i) => ({
  id: `unit-${i}`,
  nodes: nodes.slice(10 * i, 10 * i + 10).map(({ targetId }) => targetId),
}));
const ids = { planId: 'plan', runId: 'run', backupId: 'backup' };
const plan = buildPlan({
  fleet: 'bench',
  nodes,
  units,
  policy: 'quiesced',
  ...ids,
  nowMs: Date.now(),
  tool: 'bench',
});
mkdirSync(layoutDir);
await writePlan(disk, layoutDir, plan);

const executor: FleetExecutor = {
  preflight: async (request) =>
    makeReceipts(request, topologyOf(plan.targets), { control: 'none', read: 'none', quiescence: 'none' }),
  stop: async ({ target_id }) => ({ epoch: target_id }),
  createSnapshot: async ({ target_id }) => ({ snapshotId: `snapshot-of-${target_id}` }),
  start: async () => undefined,
  async downloadSnapshot({ target_id }, { into }) {
    await createFile(fs, join(into, 'state'), Buffer.from(target_id));
    return undefined;
  },
};

const status = (field: string): number => {
  const line = readFileSync('/proc/self/status', 'utf8')
    .split('\n')
    .find((text) => text.startsWith(`${field}:`));
  return Number.parseInt(line!.slice(field.length + 1), 10) * 1024;
};

writeFileSync('/proc/self/clear_refs', '5'); // the peak is counted from here on
const began = performance.now();
const { complete, executedOperationCount: operations } = await runFleetBackup(
  { layoutDir, environment: { ...systemEnvironment, fs } },
  executor,
);
const ms = performance.now() - began;
if (!complete) throw new Error('the backup is not complete');
process.stdout.write(JSON.stringify({ count, operations, ms, peakBytes: status('VmHWM'), ...counted }));
