import { type Action, type Api, type Job, type Plan, Refused, type StoredBackup } from './api.ts';
import { textOf } from './text.ts';

/** What a repository holds of this database, or why it cannot be read. */
export interface Stored {
  readonly repository: string;
  readonly backups: readonly StoredBackup[];
  readonly problem?: string;
}

/** Backups off the machine, as the page shows them. */
export interface Offsite {
  readonly plans: readonly Plan[];
  /** Newest first. */
  readonly jobs: readonly Job[];
  /** Drills that succeeded, newest first. */
  readonly drills: readonly Job[];
  readonly stored: readonly Stored[];
}

const JOBS = 50;
const DRILLS = 100;

/**
 * Asks for everything about backups. To read a repository may cost money and time: that is done again only after a job has
 * ended.
 */
export async function lookOffsite(api: Api, before: Offsite | undefined): Promise<Offsite | undefined> {
  const plans = await api.plans();
  if (plans.length === 0) return undefined;
  const [jobs, drills] = await Promise.all([
    api.jobs(`limit=${JOBS}`),
    api.jobs(`kind=drill&status=succeeded&limit=${DRILLS}`),
  ]);
  const isSame = before !== undefined && lastEnded(before.jobs) === lastEnded(jobs);
  const names = [...new Set(plans.map(({ repository }) => repository))];
  const hasBackups = lastSuccess({ plans, jobs }, 'backup') !== null;
  const stored = isSame
    ? before.stored
    : await Promise.all(names.map((name) => readStored(api, name, hasBackups)));
  return { plans, jobs, drills, stored };
}

async function readStored(api: Api, repository: string, hasBackups: boolean): Promise<Stored> {
  try {
    return { repository, backups: await api.storedBackups(repository) };
  } catch (error) {
    const isGone = hasBackups && error instanceof Refused && error.code === 'DESTINATION_NOT_FOUND';
    // Its hint is to make a repository, and that would be made below the place where a disk belongs.
    const problem = isGone
      ? `${error.message}. Backups in it are on record: is its disk mounted?`
      : textOf(error);
    return { repository, backups: [], problem };
  }
}

const lastEnded = (jobs: readonly Job[]): string =>
  jobs
    .filter(({ finished_at_ms }) => finished_at_ms !== null)
    .map(({ id }) => id)
    .join();

export const runningJobs = ({ jobs }: Offsite): Job[] =>
  jobs.filter(({ status }) => status === 'running' || status === 'pending');

export interface Due {
  readonly plan: string;
  readonly action: Action;
  readonly atMs: number;
}

/** What is due next of all plans. */
export function nextDue({ plans }: Offsite): Due | undefined {
  const due = plans.flatMap(({ name: plan, schedules }) =>
    schedules.flatMap(({ action, next_due_ms: atMs }) => (atMs === null ? [] : [{ plan, action, atMs }])),
  );
  return due.sort((a, b) => a.atMs - b.atMs)[0];
}

/** In words, one for each schedule that has had no success for too long. */
export const overdue = ({ plans }: Offsite): string[] =>
  plans.flatMap(({ name, schedules }) =>
    schedules.filter((one) => one.overdue).map(({ action }) => `The ${action} of plan ${name} is overdue.`),
  );

/** When an action last succeeded, by plan or on request. */
export function lastSuccess({ plans, jobs }: Pick<Offsite, 'plans' | 'jobs'>, action: Action): number | null {
  const planned = plans.flatMap(({ schedules }) =>
    schedules.filter((one) => one.action === action).map(({ last_success_ms }) => last_success_ms ?? 0),
  );
  const ran = jobs
    .filter(({ kind, status }) => kind === action && status === 'succeeded')
    .map(({ finished_at_ms }) => finished_at_ms ?? 0);
  return Math.max(0, ...planned, ...ran) || null;
}

const backupsIn = ({ stored }: Offsite): StoredBackup[] => stored.flatMap(({ backups }) => [...backups]);

/** When a backup was last read in full and was whole. */
export const lastVerified = (offsite: Offsite): number | null =>
  Math.max(
    0,
    ...backupsIn(offsite)
      .filter(isWhole)
      .map(({ verified_at_ms }) => verified_at_ms ?? 0),
  ) || null;

/** What the times of backups in repositories leave out, as the end of a line; empty where that is nothing. */
export function notCounted({ stored }: Offsite, of: 'repositories' | 'backups'): string {
  const away = stored.filter(({ problem }) => problem !== undefined).map(({ repository }) => repository);
  const backups = stored
    .flatMap(({ backups }) => backups)
    .filter((backup) => !isWhole(backup) && !backup.damaged);
  const unread = backups.filter(({ problem }) => problem !== null).length;
  const parts = [
    ...(away.length > 0 ? [`${away.join(', ')}, which cannot be read`] : []),
    ...(of === 'backups' && unread > 0 ? [`${unread} that could not be read`] : []),
    ...(of === 'backups' && backups.length > unread
      ? [`${backups.length - unread} that nobody has verified`]
      : []),
  ];
  return parts.length === 0 ? '' : `; not counted: ${parts.join('; ')}`;
}

const isWhole = ({ damaged, problem, verified_at_ms }: StoredBackup): boolean =>
  !damaged && problem === null && verified_at_ms !== null;

/** Times of the backups that were read and whole. */
export const wholeAt = (offsite: Offsite): number[] =>
  backupsIn(offsite)
    .filter(isWhole)
    .map(({ created_at_ms }) => created_at_ms);

export const tookMs = ({ started_at_ms, finished_at_ms }: Job): number =>
  (finished_at_ms ?? started_at_ms) - started_at_ms;
