import { join } from 'node:path';
import { hasPartsOfSecond } from '../env/file-times.ts';
import { listIfPresent } from '../env/io.ts';
import type { RunRecord } from '../operation/records.ts';
import { type NextSnapshot, sizeUpNext } from '../snapshot/capture/next-snapshot.ts';
import type { Environment } from '../snapshot/environment.ts';
import { DirectoryExchange } from '../snapshot/restore/directory-exchange.ts';
import { bytesFreed, DiskCount, filesBelow } from '../snapshot/store/disk-use.ts';
import { compareNames, isSnapshotName, type Layout } from '../snapshot/store/layout.ts';
import { leftBehind } from '../snapshot/store/left-behind.ts';
import { latestName, snapshotNames } from '../snapshot/store/list.ts';
import { decideRetention } from '../snapshot/store/retention.ts';
import { type ListedSnapshot, lookAtAll, type SnapshotStates } from '../snapshot/store/standing.ts';

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
  readonly isRestoreUnfinished: boolean;
  /** Names of snapshots after which the database went back, or was begun anew. */
  readonly leftBehind: readonly string[];
  readonly undo: KeptFolders;
  /** Undo folders that may hold writes that no snapshot has, oldest first. */
  readonly undoWithWrites: readonly string[];
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
  const surplus = decideRetention({ known, latest, ahead }, 1).filter(({ stays }) => !stays);
  return {
    ...states,
    dataDir: layout.dataDir,
    runs,
    latest: latest ?? null,
    isRestoreUnfinished: (await DirectoryExchange.findInterrupted(env.fs, layout)) !== undefined,
    leftBehind: states.snapshots.map(({ name }) => name).filter((name) => ahead.has(name)),
    undo: await keptFolders(env, layout.undo),
    undoWithWrites: await undoWithWrites(env, layout, states.snapshots, runs),
    archives: await keptFolders(env, layout.archive),
    exports: await keptFolders(env, layout.export),
    freeBytes: await env.fs.freeBytes(layout.home),
    dataFreeBytes: await env.fs.freeBytes(layout.dataDir),
    next: (await sizeUpNext(env, layout).catch(() => undefined)) ?? null, // it does not say whether the data is safe
    prunable: {
      count: surplus.length,
      freedBytes: bytesFreed(surplus.flatMap(({ standing }) => standing.files)),
    },
  };
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

/** The clock of a file system may be so much behind. */
const TICK_MS = 20;

/**
 * An undo folder holds nothing new where no file of it was written to since a snapshot of it began, or since a restore put it there, and
 * that snapshot is good.
 */
async function undoWithWrites(
  { fs }: Environment,
  layout: Layout,
  snapshots: readonly ListedSnapshot[],
  runs: readonly RunRecord[],
): Promise<string[]> {
  const good = new Map(
    snapshots.filter(({ state }) => state === 'good').map((one) => [one.location, one.engine]),
  );
  const holding: string[] = [];
  for (const name of (await snapshotNames(fs, layout.undo)).sort(compareNames)) {
    const files = await filesBelow(fs, join(layout.undo, name));
    if (files.length === 0) continue; // of a restore into an empty directory
    // It got its last name in the exchange. Whoever put something into it later made that time another.
    const changedNs = (await fs.inspect(join(layout.undo, name)))?.mtimeNs ?? 0n;
    const nameEndsMs = (Number(name.slice(3).split('-')[0]) + 1) * 1000;
    const madeAtMs = Math.min(Number(changedNs / 1_000_000n), nameEndsMs);
    const before = runs.findLast(
      ({ kind, state }) =>
        (kind === 'backup' || kind === 'restore' || kind === 'undo') &&
        state.status === 'completed' &&
        (state.finishedAtMs ?? madeAtMs) < madeAtMs,
    );
    const sinceMs = before?.kind === 'restore' ? before.state.finishedAtMs : before?.state.startedAtMs;
    const engine = before && good.get(before.location);
    // Of other engines a write through a shared mapping may leave no time.
    const isTimed = engine === 'lsm' || engine === 'leveldb';
    const isCovered =
      isTimed &&
      sinceMs != null &&
      files.every(
        ({ mtimeNs }) => hasPartsOfSecond(mtimeNs) && Number(mtimeNs / 1_000_000n) + TICK_MS < sinceMs,
      );
    if (!isCovered) holding.push(name);
  }
  return holding;
}
