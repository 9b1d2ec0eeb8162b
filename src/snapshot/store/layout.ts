import { basename, dirname, join, sep } from 'node:path';
import { LIFECYCLE } from '../../engine/engine.ts';
import { RESTORE_FOLDER } from '../../engine/unfinished-restore.ts';
import { temporaryOf } from '../../env/io.ts';

/** Names and places on disk, all below one data directory and its home. */

export const LATEST = 'latest';
/** In the place of a name: the newest snapshot of the deepest proof that is not known to be damaged. */
export const LATEST_GOOD = 'latest-good';
const RECORDS = 'records.jsonl';
export const UNDO = 'restore-backup';
export const LAST_SNAPSHOT = 'last-snapshot.json';
export const LEFT_BEHIND = 'left-behind.json';
const UPKEEP = 'upkeep.jsonl';

export interface Layout {
  readonly dataDir: string;
  /** The folder that the lifecycle folder with the snapshots stands in: the data directory, or another one (`home.ts`). */
  readonly home: string;
  readonly lifecycle: string;
  readonly lock: string;
  readonly backup: string;
  readonly latest: string;
  readonly records: string;
  /** What was verified and removed. */
  readonly upkeep: string;
  readonly restore: string;
  readonly undo: string;
  readonly archive: string;
  readonly export: string;
  /** Snapshots that are needed while somebody reads them, and no longer. */
  readonly transient: string;
}

export function layoutOf(dataDir: string, home = dataDir): Layout {
  const lifecycle = join(home, LIFECYCLE);
  const backup = join(lifecycle, 'backup');
  // A restore in place moves files by renaming: they stay on the disk of the data directory.
  const exchange = join(dataDir, LIFECYCLE);
  return {
    dataDir,
    home,
    lifecycle,
    lock: join(lifecycle, 'lock'),
    backup,
    latest: join(backup, LATEST),
    records: join(backup, RECORDS),
    upkeep: join(proofsFolder(backup), UPKEEP),
    restore: join(exchange, RESTORE_FOLDER),
    undo: join(exchange, UNDO),
    archive: join(lifecycle, 'archive'),
    export: join(lifecycle, 'export'),
    transient: join(lifecycle, 'transient'),
  };
}

/** Of the lifecycle folder in the data directory itself, wherever its snapshots are kept. */
export const ownLayout = (layout: Layout): Layout =>
  layout.home === layout.dataDir ? layout : layoutOf(layout.dataDir);

/** The ledger beside the snapshots in `parent`: one file for each snapshot. */
export const proofsFolder = (parent: string): string => join(parent, 'proofs');

/** What was published from a data directory. */
export const lineageFile = ({ lifecycle }: Layout): string => join(lifecycle, 'lineage.json');

/** What was tried to back up a data directory, where no other job store is named. */
export const jobsFile = ({ lifecycle }: Layout): string => join(lifecycle, 'jobs.sqlite');

const PARTIAL = '.partial-';
/** A snapshot that is being removed: renamed first, so that nobody sees half of it. */
const DELETED = '.deleted-';

export const partialFolder = (parent: string, id: string): string => join(parent, `${PARTIAL}${id}`);
export const deletedFolder = (parent: string, name: string): string => join(parent, `${DELETED}${name}`);
const TEMPORARY: readonly string[] = [LATEST, RECORDS, LAST_SNAPSHOT, LEFT_BEHIND].map(temporaryOf);
/** Whether a name beside the snapshots was left by a run that died. */
export const isLeftOver = (name: string): boolean =>
  name.startsWith(PARTIAL) || name.startsWith(DELETED) || TEMPORARY.includes(name);

const SNAPSHOT_NAME = /^ts-\d{1,16}(-\d{1,9})?$/;

export const isSnapshotName = (name: string): boolean => SNAPSHOT_NAME.test(name);

/** `ts-<seconds>`, with `-2`, `-3`, … when that name is taken. */
export function freeName(nowMs: number, taken: ReadonlySet<string>): string {
  const base = `ts-${Math.max(0, Math.floor(nowMs / 1000))}`;
  if (!taken.has(base)) return base;
  let count = 2;
  while (taken.has(`${base}-${count}`)) count++;
  return `${base}-${count}`;
}

/** Sorts snapshot names by time: `ts-9` before `ts-10`, `ts-10` before `ts-10-2`. */
export function compareNames(a: string, b: string): number {
  const [secondsA = 0, countA = 1] = a.slice(3).split('-').map(Number);
  const [secondsB = 0, countB = 1] = b.slice(3).split('-').map(Number);
  return secondsA - secondsB || countA - countB;
}

/** The last in the order of `compareNames`. */
export function newestName(names: Iterable<string>): string | undefined {
  let newest: string | undefined;
  for (const name of names) if (newest === undefined || compareNames(newest, name) < 0) newest = name;
  return newest;
}

/** As `freeName`, but after all `names` in their order, even if the clock was set back. */
export function nextName(nowMs: number, names: readonly string[]): string {
  const newest = newestName(names);
  const candidate = freeName(nowMs, new Set());
  if (newest === undefined || compareNames(newest, candidate) < 0) return candidate;
  const [seconds, count = '1'] = newest.slice(3).split('-');
  return `ts-${seconds}-${Number(count) + 1}`;
}

/** The data directory whose lifecycle folder is on an absolute path; undefined when none is. */
export function ownerOf(path: string): string | undefined {
  const parts = path.split(sep);
  const at = parts.lastIndexOf(LIFECYCLE);
  return at < 1 ? undefined : parts.slice(0, at).join(sep) || sep;
}

/** The place of an entry's path, which uses `/`, below `root`. */
export const placeOf = (root: string, path: string): string =>
  join(root, sep === '/' ? path : path.split('/').join(sep));

export const nameOf = (location: string): string => basename(location);

/** Whether `location` is the place of a snapshot, by its name and its folder. */
export const isSnapshotPlace = (location: string): boolean =>
  isSnapshotName(basename(location)) && layoutAround(dirname(location)) !== undefined;

/** The layout that a folder with snapshots is part of, by its place; undefined when it lies elsewhere. */
export function layoutAround(parent: string): Layout | undefined {
  const layout = layoutOf(dirname(dirname(parent)));
  const { backup, archive, export: exported, transient } = layout;
  return [backup, archive, exported, transient].includes(parent) ? layout : undefined;
}
