import { join } from 'node:path';
import { pause } from '../../env/clock.ts';
import { mapConcurrent } from '../../env/concurrency.ts';
import { type FileSystem, isSameIdentity, type OpenFile } from '../../env/file-system.ts';
import { withFile } from '../../env/io.ts';
import { StillpointError, systemCode } from '../../errors.ts';
import { decodeCheckpoint } from '../../format/lsm/checkpoint.ts';
import { MIN_TABLE_BYTES } from '../../format/lsm/table.ts';
import { ringExtents, segmentHeaderOffset, type WalGeometry, walFileBytes } from '../../format/lsm/wal.ts';
import type { CaptureItem, CapturePlan, ImageItem, Patch, PlanContext } from '../engine.ts';
import {
  type CheckpointFile,
  detectLsm,
  inspectRegular,
  listTables,
  readCheckpointFile,
} from './directory.ts';
import { changeOfLog, type LogView, viewLog } from './log-view.ts';
import { CHECKPOINT, LOG, TABLE_END_MAGIC, TABLE_MAGIC, tablePath } from './names.ts';
import { readUpTo } from './read.ts';

/** One state of the database, as something that holds the commit lock, or looked long enough from outside, knows it. */
export interface LsmState {
  readonly log: {
    readonly geometry: WalGeometry;
    /** Size of `lsm.wal`; what the geometry makes it, where absent. */
    readonly sizeBytes?: number;
    /** Logical offset and length of the live range. */
    readonly start: number;
    readonly liveBytes: number;
    /** The 16 bytes as they stand in the file. */
    readonly sectionHeader: Uint8Array;
    /** 28 bytes each, in order; one that is missing or shorter is left as zeros. */
    readonly segmentHeaders: readonly Uint8Array[];
    /** What stands in the live range, where it was read already; else it is copied from the file. */
    readonly content?: readonly Patch[];
  };
  /** The bytes of `checkpoint.meta`; absent when there is none. */
  readonly checkpoint?: Uint8Array;
  readonly tables: readonly { readonly path: string; readonly sizeBytes?: number }[];
  /** The last commit in the state, where it is known. */
  readonly lastLsn?: bigint;
}

/** What to capture of a state: the checkpoint as bytes, of the log its headers and its live range, the tables whole. */
export function planFromState(state: LsmState): CapturePlan {
  const { log, checkpoint, tables, lastLsn } = state;
  const image: ImageItem = {
    kind: 'image',
    path: LOG,
    sizeBytes: log.sizeBytes ?? walFileBytes(log.geometry),
    extents: log.content === undefined ? ringExtents(log.geometry, log.start, log.liveBytes) : [],
    patches: [
      ...(log.content ?? []),
      { offset: 0, bytes: log.sectionHeader },
      ...log.segmentHeaders.map((bytes, index) => ({
        offset: segmentHeaderOffset(log.geometry, index),
        bytes,
      })),
    ],
  };
  return planOf(checkpoint, image, tables, lastLsn);
}

function planOf(
  checkpoint: Uint8Array | undefined,
  log: ImageItem,
  tables: LsmState['tables'],
  lastLsn: bigint | undefined,
): CapturePlan {
  const items: CaptureItem[] = [];
  if (checkpoint !== undefined) items.push({ kind: 'bytes', path: CHECKPOINT, bytes: checkpoint });
  items.push(log);
  for (const table of tables) items.push({ kind: 'immutable', ...table });
  return { items, ...(lastLsn === undefined ? {} : { checkpoint: { lsn: String(lastLsn) } }) };
}

const MAX_ROUNDS = 256;
/** A live range up to this size is read within the round: under heavy writes its start does not stand still for longer. */
const READ_AT_ONCE_BYTES = 8 * 1024 * 1024;
/** Tables that are looked at at the same time. */
const LOOKS_AT_ONCE = 64;
/** Between two looks at a table that is still being written. */
const TABLE_WAIT_MS = 50;
/** A table that is incomplete and does not change for so many looks is not being written: it is damaged. */
const STILL_ROUNDS = 20;

/**
 * One state of a database that somebody else's server is writing to.
 *
 * That server's checkpoint writes a table, then `checkpoint.meta`, then empties the log, and lets no commit in meanwhile.
 * So what is read is one state if neither the checkpoint nor the log's start has changed by the time the log is copied, and
 * if no table came while the log's end was read: a table that was there before that moment holds nothing that the log
 * lacks.
 *
 * `ENGINE_MISMATCH` when there is no log or nothing of the engine's at all; `SOURCE_CHANGING`, with the reason of each
 * round in `data.reasons`, when 256 rounds did not suffice. A damaged log is planned whole: the proof tells.
 */
export async function planFromOutside(
  context: PlanContext,
  { readAtOnceBytes = READ_AT_ONCE_BYTES } = {},
): Promise<CapturePlan> {
  const { fs, dir } = context;
  if (!(await detectLsm(fs, dir))) {
    throw new StillpointError('ENGINE_MISMATCH', `${dir} does not hold an lsm database`, { path: dir });
  }
  const seen: Seen = { tables: new Map() };
  const reasons: string[] = [];
  for (let round = 0; round < MAX_ROUNDS; round++) {
    context.checkCancelled();
    const outcome = await planRound(context, seen, readAtOnceBytes);
    if (typeof outcome !== 'string') return outcome;
    reasons.push(outcome);
  }
  throw new StillpointError(
    'SOURCE_CHANGING',
    `no state of ${dir} could be held in ${MAX_ROUNDS} rounds; the last time ${reasons.at(-1)}`,
    { path: dir, data: { reasons } },
  );
}

/** What one round leaves to the next. */
interface Seen {
  readonly tables: Map<string, TableLook>;
  log?: LogView;
}

async function planRound(
  context: PlanContext,
  seen: Seen,
  readAtOnceBytes: number,
): Promise<CapturePlan | string> {
  const { fs, dir } = context;
  // What takes long with many tables comes first, and what was done in an earlier round is not done again.
  const before = await listTables(fs, dir);
  context.expectFiles(before.length);
  const paths = before.map(tablePath);
  const arePinned = await mapConcurrent(paths, LOOKS_AT_ONCE, (path) => context.pin(path));
  const vanished = paths[arePinned.indexOf(false)];
  if (vanished !== undefined) return `${vanished} vanished`;
  let incomplete: string | undefined;
  for (const path of paths) if (await isBeingWritten(fs, join(dir, path), seen.tables)) incomplete = path;
  if (incomplete !== undefined) {
    await pause(TABLE_WAIT_MS);
    return `${incomplete} was still being written`;
  }
  // From here on only the log's end may move, so the fewer calls the better.
  const checkpoint = await readCheckpointFile(fs, dir);
  const log = await viewLog(fs, dir, seen.log);
  if (log === undefined) {
    throw new StillpointError('ENGINE_MISMATCH', `${join(dir, LOG)} is missing`, {
      path: join(dir, LOG),
      hint: 'Without its log the engine does not see its tables either; restore a snapshot.',
    });
  }
  if (typeof log === 'string') return log;
  seen.log = log;
  const isSmall = (log.ring?.liveBytes ?? Number.POSITIVE_INFINITY) <= readAtOnceBytes;
  const content = isSmall ? await readLiveRange(fs, dir, log) : undefined;
  const after = await listTables(fs, dir);
  if (after.join() !== before.join()) return 'the tables changed while the log was read';
  const change = await changeSince(fs, dir, checkpoint, log);
  if (change !== undefined) return change;
  // A name may come again, where a database was emptied and ids began anew or another state was put in its place; and a
  // table may have grown since it was pinned.
  for (let at = 0; at < paths.length; at += LOOKS_AT_ONCE) {
    const some = paths.slice(at, at + LOOKS_AT_ONCE);
    const areSame = await Promise.all(some.map((path) => context.confirmPin(path)));
    for (const [i, path] of some.entries()) if (!areSame[i]) seen.tables.delete(path);
    if (areSame.includes(false)) return `${some[areSame.indexOf(false)]} changed or was replaced`;
  }
  const plan = planOfViews(checkpoint, log, paths, content);
  if (content !== undefined) return plan; // all that could still change is read, and was one state after that
  return { ...plan, confirm: () => changeSince(fs, dir, checkpoint, log) };
}

/** The bytes of the live range; what changed meanwhile is for the caller to see. */
async function readLiveRange(fs: FileSystem, dir: string, { ring }: LogView): Promise<Patch[] | undefined> {
  if (ring === undefined) return undefined;
  const { geometry, start, liveBytes } = ring;
  try {
    return await withFile(fs, join(dir, LOG), 'read', async (file) => {
      const content: Patch[] = [];
      for (const { offset, length } of ringExtents(geometry, start, liveBytes)) {
        content.push({ offset, bytes: await readUpTo(file, offset, length) });
      }
      return content;
    });
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function planOfViews(
  checkpoint: CheckpointFile | undefined,
  log: LogView,
  paths: string[],
  content: readonly Patch[] | undefined,
): CapturePlan {
  const tables = paths.map((path) => ({ path }));
  const { sizeBytes } = log.stat;
  if (log.ring === undefined) {
    const extents = sizeBytes === 0 ? [] : [{ offset: 0, length: sizeBytes }];
    const image: ImageItem = { kind: 'image', path: LOG, sizeBytes, extents, patches: [] };
    return planOf(checkpoint?.bytes, image, tables, undefined);
  }
  // With an empty log, the state reaches as far as the checkpoint; else only a replay could tell.
  const reached =
    checkpoint !== undefined && log.ring.liveBytes === 0
      ? decodeCheckpoint(checkpoint.bytes).checkpoint?.lsn
      : undefined;
  return planFromState({
    log: { ...log.ring, sizeBytes, sectionHeader: log.sectionHeader, ...(content && { content }) },
    ...(checkpoint === undefined ? {} : { checkpoint: checkpoint.bytes }),
    tables,
    ...(reached === undefined ? {} : { lastLsn: reached }),
  });
}

/** Why what was read may no longer be one state; undefined when it is. */
async function changeSince(
  fs: FileSystem,
  dir: string,
  checkpoint: CheckpointFile | undefined,
  log: LogView,
): Promise<string | undefined> {
  const change = changeOfLog(log, await viewLog(fs, dir, log));
  if (change !== undefined) return change;
  // After the log: a checkpoint saves this file before it empties the log.
  const now = await readCheckpointFile(fs, dir);
  return sameFile(checkpoint, now) ? undefined : `${CHECKPOINT} changed: the database made a checkpoint`;
}

/** The same inode may come again once freed, and the same bytes may be written again; hardly both with the same time. */
function sameFile(a: CheckpointFile | undefined, b: CheckpointFile | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return isSameIdentity(a.stat, b.stat) && a.bytes.equals(b.bytes);
}

interface TableLook {
  readonly identity: string;
  readonly times: number;
}

/** Whether header or footer of a table are missing and it was seen to change within the last looks. */
async function isBeingWritten(fs: FileSystem, path: string, looks: Map<string, TableLook>): Promise<boolean> {
  if (looks.get(path)?.times === 0) return false;
  if ((await inspectRegular(fs, path)) === undefined) return true;
  try {
    return await withFile(fs, path, 'read', async (file) => {
      const { sizeBytes, mtimeNs } = await file.stat();
      if (sizeBytes >= MIN_TABLE_BYTES && (await hasBothEnds(file, sizeBytes))) {
        looks.set(path, { identity: '', times: 0 });
        return false;
      }
      const identity = `${sizeBytes}:${mtimeNs}`;
      const last = looks.get(path);
      const times = last?.identity === identity ? last.times + 1 : 1;
      looks.set(path, { identity, times });
      return times < STILL_ROUNDS;
    });
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return true;
    throw error;
  }
}

async function hasBothEnds(file: OpenFile, sizeBytes: number): Promise<boolean> {
  const first = await readUpTo(file, 0, TABLE_MAGIC.length);
  const last = await readUpTo(file, sizeBytes - TABLE_END_MAGIC.length, TABLE_END_MAGIC.length);
  return first.toString('latin1') === TABLE_MAGIC && last.toString('latin1') === TABLE_END_MAGIC;
}
