import { type SnapshotsStatus, unsolvedFailure, withNotes } from '../coordinator/status.ts';
import { shellWord, withDataDir } from '../options/shell-word.ts';
import { size } from '../options/size.ts';
import { layoutOf } from '../snapshot/store/layout.ts';
import {
  DAMAGE_CODES,
  type FailedAttempt,
  type OffsiteStanding,
  type RepositoryStanding,
} from './repository-standings.ts';

/** An attempt in a repository that failed, and none of its kind has succeeded there since. */
export interface FailingAttempt extends FailedAttempt {
  readonly repositoryUrl: string | null;
}

/** What `status` says, on each of its faces. */
export interface WholeStatus extends SnapshotsStatus, Pick<OffsiteStanding, 'repositories'> {
  /** Of the last 31 days: what nobody has tried since is given up. `stillpoint status` exits with 3 for them. */
  readonly failing: readonly FailingAttempt[];
  readonly advice: readonly Advice[];
}

/** Joins what is known of the snapshots and of backups elsewhere. */
export function wholeStatus(
  snapshots: SnapshotsStatus,
  { repositories, notesAt }: OffsiteStanding,
  path: string,
  nowMs: number,
): WholeStatus {
  const failing = failingNow(repositories ?? [], nowMs);
  const advice = statusAdvice(snapshots, repositories, failing, path);
  return { ...withNotes(snapshots, notesAt(nowMs)), repositories, failing, advice };
}

const GIVEN_UP_MS = 31 * 24 * 60 * 60 * 1000;

/** A repository that was never open may be a mistyped one: a backup into another one since settles it. */
function failingNow(repositories: readonly RepositoryStanding[], nowMs: number): FailingAttempt[] {
  const newestMs = Math.max(...repositories.map(({ newestBackup }) => newestBackup?.createdAtMs ?? 0));
  return repositories.flatMap(({ repositoryId, repositoryUrl, failing }) =>
    failing
      .filter(({ atMs }) => nowMs - atMs < GIVEN_UP_MS && (repositoryId !== null || atMs > newestMs))
      .map((attempt) => ({ repositoryUrl, ...attempt })),
  );
}

/** What can be done about a status. Each line is a sentence, or a command that starts with `stillpoint`. */
export interface Advice {
  readonly what: string;
  readonly lines: readonly string[];
  /** Whether it ends what is wrong. Else it is only possible. */
  readonly solves: boolean;
}

type Row = readonly [what: string, ...lines: readonly string[]];

/** What can be done, in the order in which to think of it, each with its command. */
function statusAdvice(
  status: SnapshotsStatus,
  repositories: readonly RepositoryStanding[] | null,
  failing: readonly FailingAttempt[],
  path: string,
): Advice[] {
  const dir = shellWord(path);
  const { sourceDamaged } = status;
  const replaced = replacedDamaged(status);
  const damagedBefore = status.damaged.filter(({ name }) => status.leftBehind.includes(name));
  const takes = rows(
    takesNew(status, replaced.length + damagedBefore.length) && [
      'take a new one',
      `stillpoint snapshot ${dir}${status.damaged.length > 0 ? ' --full' : ''}`,
    ],
  );
  const removes = replaced.map(
    (name): Row => ['remove damaged', `stillpoint delete ${name} --data-dir ${dir}`],
  );
  const saves = damagedBefore.flatMap(({ name, location }): Row[] => [
    ['salvage its writes', `stillpoint salvage ${shellWord(location)} --into NEW`],
    ['then remove it', `stillpoint delete ${name} --data-dir ${dir}`],
  ]);
  const back = restores(status, repositories, dir);
  const mends = failures(status, failing, path);
  const keeps = [...undos(status, dir), ...givesUp(status, dir), ...mayGo(status, dir)];
  // What is damaged is closed first, and that is said once.
  const advice = (told: readonly Row[], solves: boolean): Advice[] =>
    told.map((row) => adviceOf(sourceDamaged ? row : closing(row), solves));
  if (sourceDamaged) {
    const first: Row = ['first', 'close the database'];
    const solving = [first, ...back, ...salvage(dir), ...mends];
    return [...advice(solving, true), ...advice([...keeps, ...saves], false)];
  }
  const solving = [...takes, ...removes, ...saves, ...mends];
  return status.next === null
    ? [...advice([...back, ...solving], true), ...advice(keeps, false)]
    : [...advice(solving, true), ...advice([...keeps, ...back], false)];
}

const adviceOf = ([what, ...lines]: Row, solves: boolean): Advice => ({ what, lines, solves });

/** An undo and a restore in place take the lock of the database. */
const closing = ([what, ...lines]: Row): Row => [
  what,
  ...lines.flatMap((line) =>
    /^stillpoint (undo|restore .*--in-place)/.test(line) ? ['with the database closed:', line] : [line],
  ),
];

const rows = (row: Row | false): Row[] => (row === false ? [] : [row]);

/** What to do about each attempt that failed last. */
function failures(status: SnapshotsStatus, failing: readonly FailingAttempt[], path: string): Row[] {
  const snapshot = unsolvedFailure(status)?.hint ?? null;
  const restore = status.lastRestoreFailure?.hint ?? null;
  return [
    ...rows(snapshot !== null && ['failed snapshot', withDataDir(snapshot, path)]),
    ...rows(restore !== null && ['failed restore', withDataDir(restore, path)]),
    ...failing.flatMap(({ kind, repositoryUrl, hint }) =>
      rows(
        hint !== null && [`failed ${kind}`, `${repositoryUrl ?? 'a repository'}: ${withDataDir(hint, path)}`],
      ),
    ),
  ];
}

/** A damaged one goes once a newer one is good, unless it may hold what no newer one has. */
function replacedDamaged({ damaged, latest, leftBehind, newestGood }: SnapshotsStatus): string[] {
  if (newestGood === null || newestGood.name !== latest) return [];
  return damaged.map(({ name }) => name).filter((name) => name !== latest && !leftBehind.includes(name));
}

function takesNew({ sourceDamaged, newestGood, safe, damaged }: SnapshotsStatus, dealtWith: number): boolean {
  if (sourceDamaged) return false;
  return newestGood === null || (!safe && dealtWith < Math.max(damaged.length, 1));
}

function restores(
  status: SnapshotsStatus,
  repositories: readonly RepositoryStanding[] | null,
  dir: string,
): Row[] {
  const { latestGood, sourceDamaged } = status;
  if (latestGood === null) {
    const elsewhere = repositories?.find(({ newestBackup, repositoryUrl }) => newestBackup && repositoryUrl);
    if (!elsewhere?.repositoryUrl) return [];
    const from = shellWord(elsewhere.repositoryUrl);
    const isDamaged = elsewhere.failing.some(({ code }) => DAMAGE_CODES.has(code));
    const backup = isDamaged ? elsewhere.newestBackup?.backupId : 'latest';
    return [['restore', `stillpoint backup restore ${backup} --from ${from} --into NEW`]];
  }
  const where = (status.restoreBytes ?? 0) <= status.dataFreeBytes ? '--in-place' : '--into ON_ANOTHER_DISK';
  const command = (name: string) => `stillpoint restore ${name} --data-dir ${dir} ${where}`;
  const best = command('latest-good');
  const isGoingBack = !sourceDamaged && status.next !== null && where === '--in-place';
  // Not what is damaged itself.
  const notGood = new Set([...status.damaged.map(({ name }) => name), ...status.unread, ...status.unproven]);
  const before = status.leftBehind.findLast((name) => !notGood.has(name) && name !== latestGood);
  const brings = `brings ${latestGood} back; what was written after it stays in the undo folder`;
  return [
    [isGoingBack ? 'or go back' : 'restore', ...(sourceDamaged || isGoingBack ? [brings] : []), best],
    ...rows(before !== undefined && ['or left behind', command(before)]),
  ];
}

const salvage = (dir: string): Row[] => [
  [
    'or salvage',
    'keeps later writes too, as far as they can be read; then put it in place',
    `stillpoint salvage ${dir} --into NEW`,
    'stillpoint snapshot NEW',
    `stillpoint restore ${layoutOf('NEW').latest} --data-dir ${dir} --in-place`,
  ],
  ['once it is whole', `stillpoint verify ${dir}`],
];

const FOLDERS_SHOWN = 10;

function undos({ undoFolders }: SnapshotsStatus, dir: string): Row[] {
  if (undoFolders.length === 0) return [];
  const holding = undoFolders.filter(({ mayHoldWrites }) => mayHoldWrites).slice(-FOLDERS_SHOWN);
  if (holding.length === 0) {
    const whole = undoFolders.findLast(({ damaged }) => !damaged);
    return whole === undefined ? [] : [['undo a restore', `stillpoint undo ${dir} --to ${whole.name}`]];
  }
  return holding
    .toReversed()
    .map(({ name, location, damaged }) =>
      damaged
        ? ['salvage its writes', `stillpoint salvage ${shellWord(location)} --into NEW`]
        : ['undo a restore', `stillpoint undo ${dir} --to ${name}`],
    );
}

function mayGo({ prunable, sourceDamaged }: SnapshotsStatus, dir: string): Row[] {
  if (sourceDamaged) return [['what may go', 'better nothing, as long as the database is damaged']];
  if (prunable.count === 0) return [['what may go', 'none']];
  const bytes = size(prunable.freedBytes);
  return [
    [
      'what may go',
      `${count(prunable.count, 'snapshot')}, ${bytes}`,
      `stillpoint prune ${dir} --keep 1 --dry-run`,
    ],
  ];
}

/** An undo moves files and takes no space, and the snapshot after it shares what an older one has: there is a way also on a full disk. */
function givesUp({ undoFolders }: SnapshotsStatus, dir: string): Row[] {
  if (undoFolders.length === 0) return [];
  const spare = undoFolders.filter(({ mayHoldWrites }) => !mayHoldWrites);
  const bytes = spare.reduce((sum, { diskBytes }) => sum + diskBytes, 0);
  return [
    [
      'give up undo',
      spare.length === 0 ? 'no folder can go yet' : `${count(spare.length, 'undo folder')}, ${size(bytes)}`,
      ...(spare.length > 0 ? [`stillpoint prune ${dir} --undo --keep 0 --dry-run`] : []),
      ...(spare.length < undoFolders.length ? [SAVE] : []),
    ],
  ];
}

const SAVE =
  'a folder that may hold writes stays until they are saved: undo the restore, which takes no space, and take a snapshot; or salvage what is damaged';

const count = (value: number, one: string): string => `${value} ${one}${value === 1 ? '' : 's'}`;
