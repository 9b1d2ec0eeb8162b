import { join } from 'node:path';
import { listIfPresent } from '../env/io.ts';
import { type Lineage, lineageOf } from '../operation/lineage.ts';
import type { RunRecord } from '../operation/run-record.ts';
import { type NextSnapshot, sizeUpNext } from '../snapshot/capture/next-snapshot.ts';
import type { Environment } from '../snapshot/environment.ts';
import { DirectoryExchange } from '../snapshot/restore/directory-exchange.ts';
import { bytesFreed, DiskCount, filesBelow } from '../snapshot/store/disk-use.ts';
import { isSnapshotName, type Layout, ownLayout } from '../snapshot/store/layout.ts';
import { leftBehind } from '../snapshot/store/left-behind.ts';
import { latestName, snapshotNames } from '../snapshot/store/list.ts';
import type { UndoStanding } from '../snapshot/store/prune-undo.ts';
import { decideRetention } from '../snapshot/store/retention.ts';
import { lookAtAll, type SnapshotStates } from '../snapshot/store/standing.ts';
import { putBackFrom } from './put-back.ts';
import { undoStandings } from './undo-standing.ts';

/** Folders that somebody may remove, and what they take on the disk. */
export interface KeptFolders {
  readonly count: number;
  /** A file that several of them share counts once. */
  readonly diskBytes: number;
  /** From their names; null when there are none. */
  readonly oldestAtMs: number | null;
  readonly newestAtMs: number | null;
}

/** What `statusFrom` judges: all that is on the disk. */
export interface Findings extends SnapshotStates {
  /** The real path. */
  readonly dataDir: string;
  readonly latest: string | null;
  readonly runs: readonly RunRecord[];
  readonly lineage: Lineage;
  /** Where the database was brought back from, if the newest good snapshot may hold writes that it lacks. */
  readonly putBackFrom: string | undefined;
  readonly isRestoreUnfinished: boolean;
  /** Names of snapshots after which the database went back, or was begun anew. */
  readonly leftBehind: readonly string[];
  /** Where others stand, from before the snapshots were kept in another folder; undefined where there are none. */
  readonly outOfSight: { readonly count: number; readonly folder: string } | undefined;
  readonly undo: KeptFolders;
  readonly undoFolders: readonly UndoStanding[];
  readonly archives: KeptFolders;
  readonly exports: KeptFolders;
  readonly freeBytes: number;
  readonly dataFreeBytes: number;
  /** Null where no database is found, or it cannot be looked at. */
  readonly next: NextSnapshot | null;
  /** What `prune --keep 1` would remove, but for snapshots that are being read. */
  readonly prunable: { readonly count: number; readonly freedBytes: number };
}

/** Looks at names, sizes and the ledger. Reads no data, and changes nothing. */
export async function gather(
  env: Environment,
  layout: Layout,
  runs: readonly RunRecord[],
): Promise<Findings> {
  const { states, known } = await lookAtAll(env, layout);
  const latest = await latestName(env.fs, layout.backup);
  const ahead = await leftBehind(env.fs, layout);
  const lineage = lineageOf(runs);
  const surplus = decideRetention({ known, latest, ahead }, 1).filter(({ stays }) => !stays);
  return {
    ...states,
    dataDir: layout.dataDir,
    runs,
    lineage,
    putBackFrom: await putBackFrom(env, lineage, states.snapshots, ahead),
    latest: latest ?? null,
    isRestoreUnfinished: (await DirectoryExchange.findInterrupted(env.fs, layout)) !== undefined,
    leftBehind: states.snapshots.map(({ name }) => name).filter((name) => ahead.has(name)),
    outOfSight: await outOfSight(env, layout),
    undo: await keptFolders(env, layout.undo),
    undoFolders: await undoStandings(env, layout, states.snapshots, runs),
    archives: await keptFolders(env, layout.archive),
    exports: await keptFolders(env, layout.export),
    // It may be a mount of its own.
    freeBytes: await env.fs.freeBytes(
      (await env.fs.inspect(layout.lifecycle)) === undefined ? layout.home : layout.lifecycle,
    ),
    dataFreeBytes: await env.fs.freeBytes(layout.dataDir),
    next: (await sizeUpNext(env, layout).catch(() => undefined)) ?? null, // it does not say whether the data is safe
    prunable: {
      count: surplus.length,
      freedBytes: bytesFreed(surplus.flatMap(({ standing }) => standing.files)),
    },
  };
}

async function outOfSight({ fs }: Environment, layout: Layout): Promise<Findings['outOfSight']> {
  const { backup: folder } = ownLayout(layout);
  if (folder === layout.backup) return undefined;
  const { length: count } = await snapshotNames(fs, folder);
  return count === 0 ? undefined : { count, folder };
}

async function keptFolders({ fs }: Environment, parent: string): Promise<KeptFolders> {
  const disk = new DiskCount();
  const times: number[] = [];
  for (const { name, kind } of await listIfPresent(fs, parent)) {
    if (kind !== 'folder' || !isSnapshotName(name)) continue;
    disk.add(await filesBelow(fs, join(parent, name)));
    times.push(Number(name.slice(3).split('-')[0]) * 1000);
  }
  const { length: count } = times;
  return {
    count,
    diskBytes: disk.totalBytes,
    oldestAtMs: count === 0 ? null : Math.min(...times),
    newestAtMs: count === 0 ? null : Math.max(...times),
  };
}
