import { join } from 'node:path';
import { createFile, makeFolders, readSmallFile, replaceFile } from '../../src/env/io.ts';
import { StillpointError } from '../../src/errors.ts';
import { RecordLog } from '../../src/fleet/journal/record-log.ts';
import type { RestoreNodes } from '../../src/fleet/restore/restore-nodes.ts';
import {
  buildRestorePlan,
  type RestorePlan,
  readRestorePlan,
  writeRestorePlan,
} from '../../src/fleet/restore/restore-plan.ts';
import { RestoreRun } from '../../src/fleet/restore/restore-run.ts';
import { restoreLogOf } from '../../src/fleet/restore/restore-states.ts';
import type { CrashFileSystem } from './crash-file-system.ts';
import type { World } from './crash-world.ts';
import { fleetNode } from './fleet.ts';

const FOLDER = '/disk/restore';
const NODES = '/disk/nodes';

interface Node {
  readonly state: 'before' | 'restored' | 'undone';
  readonly held: boolean;
}

/** Nodes whose state is on the same disk as the journal, always durable; a lease is gone when the process is. */
function nodesOn(fs: CrashFileSystem): RestoreNodes {
  const quiesced = new Set<string>();
  const change = async (id: string, to: Partial<Node>) =>
    replaceFile(
      fs,
      join(NODES, id),
      Buffer.from(JSON.stringify({ ...(await nodeOn(fs, id)), ...to } satisfies Node)),
    );
  const report = async (id: string) => ({ ...(await nodeOn(fs, id)), written: false });
  const requireHeld = async (id: string) => {
    if (!(await nodeOn(fs, id)).held) throw new StillpointError('LEASE_LOST', `${id} is not held`);
  };
  return {
    send: async (id) => `copy on ${id}`,
    hasCopy: async () => true,
    report,
    async quiesce(id) {
      if (!(await nodeOn(fs, id)).held) quiesced.add(id);
    },
    async snapshot(id) {
      if (!quiesced.has(id)) await requireHeld(id);
      return `safety of ${id}`;
    },
    async hold(id) {
      if (!quiesced.delete(id)) await requireHeld(id);
      await change(id, { held: true });
      return report(id);
    },
    async restore(id) {
      await requireHeld(id);
      await change(id, { state: 'restored' });
    },
    async undo(id) {
      await requireHeld(id);
      await change(id, { state: 'undone' });
    },
    async probe(id) {
      await requireHeld(id);
    },
    async release(id) {
      quiesced.delete(id);
      await change(id, { held: false });
    },
    discard: async () => undefined,
    unpin: async () => undefined,
  };
}

export async function nodeOn(fs: CrashFileSystem, id: string): Promise<Node> {
  return JSON.parse((await readSmallFile(fs, join(NODES, id), 1000))!.toString('utf8'));
}

export const RESTORED_NODES = ['a', 'b'] as const;

export async function prepareNodes(fs: CrashFileSystem): Promise<void> {
  for (const folder of [NODES, FOLDER]) await makeFolders(fs, folder);
  for (const id of RESTORED_NODES)
    await createFile(fs, join(NODES, id), Buffer.from('{"state":"before","held":false}'));
  for (const folder of [NODES, FOLDER, '/disk', '/']) await fs.syncFolder(folder);
}

const planOf = (): RestorePlan =>
  buildRestorePlan({
    manifest: {
      backup_id: 'backup-1',
      fleet: {
        members: RESTORED_NODES.map((id, i) => ({
          ...MEMBER,
          target_id: id,
          parent: i === 0 ? null : RESTORED_NODES[i - 1]!,
          source_snapshot: { ...MEMBER.source_snapshot, artifact_path: `artifacts/${id}` },
        })),
      },
    } as never,
    nodes: RESTORED_NODES.map((id) => fleetNode(id)),
    mapping: new Map(),
    restoreId: 'restore-1',
    nowMs: 1_700_000_000_000,
    tool: 'test',
  });

const MEMBER = {
  identity_mode: 'relocatable',
  store_id: null,
  engine: null,
  source_snapshot: { snapshot_id: 's', checksum_algorithm: 'sha256', checksum: '0'.repeat(64) },
};

/** Begins a restore of the nodes on the world's disk, goes on with it, or takes it back if there is one. */
export async function restoreOn({ fs, environment }: World, direction: 'restore' | 'undo'): Promise<void> {
  let plan = await readRestorePlan(fs, FOLDER);
  if (plan === undefined && direction === 'undo') return;
  if (plan === undefined) {
    plan = planOf();
    await writeRestorePlan(fs, FOLDER, plan);
  }
  const { restore_id, plan_sha256, created_at_ms: at_ms } = plan;
  const first = { type: 'opened', restore_id, plan_sha256, at_ms } as const;
  const journal = await RecordLog.open(fs, restoreLogOf(FOLDER, plan), first);
  try {
    const { signal } = new AbortController();
    const run = new RestoreRun({
      env: environment,
      layout: '/disk',
      journal,
      nodes: nodesOn(fs),
      concurrency: 1,
      signal,
    });
    if (direction === 'restore') await run.restore();
    else await run.undo({ discardWrites: false, without: [] });
  } finally {
    await journal.close();
  }
}
