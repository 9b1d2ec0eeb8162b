import { mapConcurrent } from '../../env/concurrency.ts';
import { RunControl } from '../../env/run-control.ts';
import { isRefusal, StillpointError, toStillpointError } from '../../errors.ts';
import { LEVELS, type Level } from '../../options/choices.ts';
import { shellWord } from '../../options/shell-word.ts';
import type { Environment } from '../environment.ts';
import { DiskCount, type DiskUse } from './disk-use.ts';
import type { SnapshotSummary, Standing } from './known-snapshot.ts';
import { compareNames, type Layout } from './layout.ts';
import { noneYet, readSummary, snapshotLocations } from './list.ts';
import { LOOKS_AT_ONCE, NOTHING_KNOWN, standingOf } from './snapshot-look.ts';

/**
 * - `good`: proven to the depth of `level`, and nothing says that it was damaged since.
 * - `damaged`: known to be damaged.
 * - `unread`: not known to be damaged, and not all of it could be read.
 * - `unproven`: no proof is on record, or a file was written to since.
 */
export const SNAPSHOT_STATES = ['good', 'damaged', 'unread', 'unproven'] as const;
export type SnapshotState = (typeof SNAPSHOT_STATES)[number];

/** A snapshot with what is known of it: names and sizes of its files are looked at, and their last proofs; no file is read. */
export interface ListedSnapshot extends SnapshotSummary {
  readonly state: SnapshotState;
  /** How deep its proof went; null when there is none that counts. */
  readonly level: Level | null;
  /** When the oldest proof among its files was made; for a damaged one, when it was last read. Null: not on record. */
  readonly verifiedAtMs: number | null;
  /** When the oldest of its files was last read from the disk itself, and not from memory; null: one of them never was, as far as is on record. */
  readonly mediumAtMs: number | null;
  /** What is damaged or could not be read; null when nothing is known to be. */
  readonly damage: string | null;
  /** Since it was taken, by the clock of this machine. */
  readonly ageMs: number;
  /** What its files take on the disk, also those that other snapshots share; null when that could not be looked at. */
  readonly diskBytes: number | null;
  /** What the disk gets back when it is removed: the files that nothing else shares. */
  readonly ownBytes: number | null;
}

/** All snapshots of a data directory together. */
export interface SnapshotTotal {
  readonly count: number;
  readonly damaged: number;
  /** Of all, as if nothing were shared. */
  readonly totalBytes: number;
  /** On the disk: a file that several snapshots share counts once. */
  readonly diskBytes: number;
}

export interface SnapshotStates {
  /** The newest of the deepest proof that is not known to be damaged; null when there is none. */
  readonly latestGood: string | null;
  /** Oldest first. */
  readonly snapshots: readonly ListedSnapshot[];
  readonly total: SnapshotTotal;
}

/** The snapshots of a data directory with what is known of them, in the order in which they were taken. */
export async function standings(env: Environment, layout: Layout): Promise<Standing[]> {
  const locations = await snapshotLocations(env.fs, layout);
  const looks = await looksInThreads(env, locations);
  const known = await mapConcurrent([...locations.entries()], LOOKS_AT_ONCE, async ([index, location]) => {
    const look = looks[index];
    if (look !== undefined) return look;
    const read = await readSummary(env, location);
    return standingOf(env, read).catch((error) => hidden(read.summary, error));
  });
  return known.sort(bySequence);
}

/** Fewer are looked at sooner than a thread starts. */
const MANY_SNAPSHOTS = 32;
const SNAPSHOTS_A_TASK = 16;
/** Of looking at a snapshot, compared with reading bytes. */
const LOOK_COST_BYTES = 32 * 1024;

/** Many are looked at in worker threads, where each call is faster and holds nobody up. Undefined for one that is to be looked at here. */
async function looksInThreads(
  { pool }: Environment,
  locations: readonly string[],
): Promise<readonly (Standing | undefined)[]> {
  if (locations.length < MANY_SNAPSHOTS) return [];
  const tasks: string[][] = [];
  for (let at = 0; at < locations.length; at += SNAPSHOTS_A_TASK)
    tasks.push(locations.slice(at, at + SNAPSHOTS_A_TASK));
  const looks = await Promise.all(
    tasks.map(
      (some) =>
        pool
          .run('lookAtSnapshots', some, new RunControl(), some.length * LOOK_COST_BYTES)
          .catch(() => some.map(() => undefined)), // where no thread can start, it takes longer
    ),
  );
  return looks.flat();
}

/** A clock that was set back gives later ones smaller names. */
const bySequence = ({ snapshot: a }: Standing, { snapshot: b }: Standing): number =>
  (a.sequence ?? -1) - (b.sequence ?? -1) || compareNames(a.name, b.name);

/** The snapshots of a data directory with their state. */
export const listWithState = async (env: Environment, layout: Layout): Promise<SnapshotStates> =>
  (await lookAtAll(env, layout)).states;

/** The same, and what is known of those that could be looked at, in the order in which they were taken. */
export async function lookAtAll(
  env: Environment,
  layout: Layout,
): Promise<{ readonly states: SnapshotStates; readonly known: readonly Standing[] }> {
  const disk = new DiskCount();
  const known: Standing[] = [];
  const locations = await snapshotLocations(env.fs, layout);
  const looks = await looksInThreads(env, locations);
  const listed = await mapConcurrent([...locations.entries()], LOOKS_AT_ONCE, async ([index, location]) => {
    let standing = looks[index];
    const look = async () => {
      if (standing !== undefined) return listedFrom(env, standing, disk);
      return listedSnapshot(env, location, disk, (one) => {
        standing = one;
      });
    };
    const snapshot = await orGone(env, location, look);
    if (snapshot !== undefined && standing !== undefined) known.push(standing);
    return snapshot;
  });
  const snapshots = listed.filter((snapshot) => snapshot !== undefined);
  known.sort(bySequence);
  const states = {
    latestGood: newestGood(known)?.snapshot.name ?? null,
    snapshots,
    total: {
      count: snapshots.length,
      damaged: snapshots.filter(({ state }) => state === 'damaged').length,
      totalBytes: snapshots.reduce((sum, { totalBytes }) => sum + (totalBytes ?? 0), 0),
      diskBytes: disk.totalBytes,
    },
  };
  return { states, known };
}

/** Undefined for a snapshot that somebody removes meanwhile: what was seen of it says nothing. */
async function orGone(
  env: Environment,
  location: string,
  look: () => Promise<ListedSnapshot>,
): Promise<ListedSnapshot | undefined> {
  const isThere = async () => (await env.fs.inspect(location)) !== undefined;
  try {
    const snapshot = await look();
    return snapshot.state === 'good' || (await isThere()) ? snapshot : undefined;
  } catch (error) {
    if (await isThere()) throw error;
    return undefined;
  }
}

/** One that cannot be looked at, or vanishes meanwhile, is `unread`: the others are listed all the same. */
export async function listedSnapshot(
  env: Environment,
  location: string,
  disk = new DiskCount(),
  onStanding?: (standing: Standing) => void,
): Promise<ListedSnapshot> {
  const read = await readSummary(env, location);
  const { summary: snapshot } = read;
  const ageMs = env.clock.nowMs() - snapshot.createdAtMs;
  try {
    const standing = await standingOf(env, read);
    onStanding?.(standing);
    return listedFrom(env, standing, disk);
  } catch (error) {
    const damage = toStillpointError(error).message;
    const unknown = { level: null, verifiedAtMs: null, mediumAtMs: null, diskBytes: null, ownBytes: null };
    return { ...snapshot, state: 'unread', damage, ageMs, ...unknown };
  }
}

function listedFrom({ clock }: Environment, standing: Standing, disk: DiskCount): ListedSnapshot {
  const ageMs = clock.nowMs() - standing.snapshot.createdAtMs;
  return { ...described(standing), ageMs, ...disk.add(standing.files) };
}

function described({
  snapshot,
  damage,
  depth,
  isUnread,
  verifiedAtMs,
  mediumAtMs,
}: Standing): Omit<ListedSnapshot, 'ageMs' | keyof DiskUse> {
  const proven = depth === -1 ? 'unproven' : 'good';
  const state = damage !== undefined ? 'damaged' : isUnread ? 'unread' : proven;
  const level = damage === undefined ? (LEVELS[depth] ?? null) : null;
  return { ...snapshot, state, level, verifiedAtMs, mediumAtMs, damage: damage ?? null };
}

/** Rethrows what is no refusal. */
function hidden(snapshot: SnapshotSummary, error: unknown): Standing {
  if (!isRefusal(error)) throw error;
  const refusal = toStillpointError(error).message;
  return { snapshot, damage: undefined, refusal, isUnread: true, files: [], ...NOTHING_KNOWN };
}

const NAMES_SHOWN = 3;

/** The newest snapshot of the deepest proof that is not known to be damaged. */
export function newestGood(known: readonly Standing[]): Standing | undefined {
  const good = known.filter(({ damage, refusal }) => damage === undefined && refusal === undefined);
  const deepest = Math.max(...good.map(({ depth }) => depth));
  return good.findLast(({ depth }) => depth === deepest);
}

/** Why there is no good snapshot: there is none at all, or all are damaged. REQUIRES: `newestGood` found none. */
export function noneGood(dataDir: string, known: readonly Standing[]): StillpointError {
  if (known.length === 0) return noneYet(dataDir);
  const newest = known.slice(-NAMES_SHOWN).reverse();
  const named = newest
    .map(({ snapshot, damage, refusal }) => `${snapshot.name} (${damage ?? refusal})`)
    .join(', ');
  const rest = known.length > NAMES_SHOWN ? ', …' : '';
  const many = known.length === 1 ? 'the only snapshot' : `all ${known.length} snapshots`;
  const are = known.length === 1 ? 'is' : 'are';
  const dir = shellWord(dataDir);
  return new StillpointError(
    'NOT_FOUND',
    `${many} of ${dataDir} ${are} damaged or cannot be looked at: ${named}${rest}`,
    {
      path: dataDir,
      hint: `Take a new one if the database is whole: \`stillpoint snapshot ${dir} --full\`. Otherwise restore a backup from a repository: \`stillpoint backup restore\`. \`stillpoint verify ${dir} --all\` tells all that is damaged.`,
    },
  );
}
