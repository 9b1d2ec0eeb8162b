import { type ErrorCode, toStillpointError } from '../errors.ts';
import { age } from '../options/age.ts';
import { checkArgument } from '../options/option.ts';
import { folder } from '../options/values.ts';
import { type Environment, systemEnvironment } from '../snapshot/environment.ts';
import type { BackupRecord, Job, JobKind } from './jobs/job-store.ts';
import { readJobStore, type ShowJobOptions, showJobOptions } from './list-jobs.ts';
import { translated } from './options.ts';
import { sharedDisk } from './placement.ts';

/** How a data directory's backups in one repository stand, as far as they are on record in the directory. Nothing is asked of the repository. */
export interface RepositoryStanding {
  /** Null where no attempt came so far that the repository was open. */
  readonly repositoryId: string | null;
  /** Without secrets; null where it is not on record. */
  readonly repositoryUrl: string | null;
  /** Whether it is a folder on the disk of the data: if that fails, both are lost. False where that cannot be seen now. */
  readonly sharesDisk: boolean;
  /** Of those that are not known to be damaged. */
  readonly newestBackup: { readonly backupId: string; readonly createdAtMs: number } | null;
  /** The last verification or drill that ended well and is on record here, and the backup that it read. */
  readonly lastVerified: { readonly backupId: string | null; readonly atMs: number } | null;
  /** The last drill that ended well, and how long it took. */
  readonly lastDrill: { readonly atMs: number; readonly tookMs: number } | null;
  /** Of each kind of attempt, the last one, if it failed. */
  readonly failing: readonly FailedAttempt[];
}

export interface FailedAttempt {
  readonly kind: JobKind;
  readonly atMs: number;
  readonly code: string | null;
  readonly reason: string | null;
  /** What to do about it. */
  readonly hint: string | null;
}

/** All that are on record. */
const JOBS = 1000;
const KINDS: readonly JobKind[] = ['backup', 'verify', 'drill', 'prune'];

/** One for each repository that a data directory was backed up to, the one used last first; none for a directory without backups. */
export async function repositoryStandings(
  dataDir: string,
  options: ShowJobOptions = {},
): Promise<readonly RepositoryStanding[]> {
  checkArgument('repositoryStandings: dataDir', folder(), dataDir);
  showJobOptions.check('repositoryStandings', options);
  return translated(async () => {
    const read = await readJobStore(dataDir, options, async (store) => ({
      jobs: await store.listJobs({ limit: JOBS }),
      records: await store.listRecords(),
    }));
    if (read === undefined) return [];
    const env = options.environment ?? systemEnvironment;
    const standings = standingsFrom(read.jobs, read.records, env.clock.nowMs());
    return Promise.all(
      standings.map(async (standing) => ({
        ...standing,
        sharesDisk: await sharesDisk(env, standing.repositoryUrl, dataDir),
      })),
    );
  });
}

async function sharesDisk(env: Environment, url: string | null, dataDir: string): Promise<boolean> {
  if (url === null) return false;
  const shared = await sharedDisk(env, { url }, dataDir).catch(() => undefined); // it is not there now
  return shared !== undefined;
}

/** A clock may be a little off. */
const CLOCK_DIFFERENCE_MS = 5 * 60_000;

/** Both newest first. What a clock that was ahead has dated into the time to come is taken for older than all else: it would hide what failed since. */
function standingsFrom(
  newestFirst: readonly Job[],
  all: readonly BackupRecord[],
  nowMs: number,
): Omit<RepositoryStanding, 'sharesDisk'>[] {
  const isToCome = (atMs: number) => atMs > nowMs + CLOCK_DIFFERENCE_MS;
  const jobs = [...newestFirst].sort(
    (a, b) => Number(isToCome(a.startedAtMs)) - Number(isToCome(b.startedAtMs)),
  );
  const stores = new Set(jobs.map(({ storeId }) => storeId));
  // In PostgreSQL those of other directories are there, too.
  const records = all
    .filter(({ storeId }) => stores.has(storeId))
    .sort((a, b) => Number(isToCome(a.createdAtMs)) - Number(isToCome(b.createdAtMs)));
  const urls = new Map<string, string>(); // by id; the newest, since a disk may be mounted elsewhere now
  const ids = new Map<string, string>(); // by address
  for (const { repositoryId, repositoryUrl } of jobs) {
    if (repositoryId === null || repositoryUrl === null) continue;
    if (!urls.has(repositoryId)) urls.set(repositoryId, repositoryUrl);
    if (!ids.has(repositoryUrl)) ids.set(repositoryUrl, repositoryId);
  }
  const repositories = new Map<string, Job[]>();
  for (const job of jobs) {
    // An attempt that failed before the repository was open knows only where that should be.
    const key = job.repositoryId ?? ids.get(job.repositoryUrl ?? '') ?? job.repositoryUrl ?? '';
    const group = repositories.get(key);
    if (group === undefined) repositories.set(key, [job]);
    else group.push(job);
  }
  return [...repositories].map(([key, group]) => {
    const isId = group.some(({ repositoryId }) => repositoryId === key);
    const newest = isId ? newestBackup(records, key, foundDamaged(group)) : null;
    return {
      repositoryId: isId ? key : null,
      repositoryUrl: urls.get(key) ?? group[0]!.repositoryUrl,
      newestBackup: newest,
      lastVerified: lastVerified(group),
      lastDrill: lastDrill(group),
      failing: KINDS.flatMap((kind) => failureOf(group, kind, newest !== null)),
    };
  });
}

function newestBackup(
  records: readonly BackupRecord[],
  repositoryId: string,
  damaged: ReadonlySet<string>,
): RepositoryStanding['newestBackup'] {
  const record = records.find(
    (one) => one.repositoryId === repositoryId && one.state === 'present' && !damaged.has(one.id),
  );
  return record === undefined ? null : { backupId: record.id, createdAtMs: record.createdAtMs };
}

/** Codes of attempts that found the backup damaged that they read. */
export const DAMAGE_CODES: ReadonlySet<string | null> = new Set<ErrorCode>([
  'BACKUP_DAMAGED',
  'RESTORE_INTEGRITY_MISMATCH',
]);

/** The backups that an attempt found damaged, and no later one of the same kind, nor a drill, found whole. */
function foundDamaged(newestFirst: readonly Job[]): Set<string> {
  const settled = new Set<string>();
  const damaged = new Set<string>();
  for (const { kind, backupId, status, errorCode } of newestFirst) {
    if (backupId === null) continue;
    if (status === 'succeeded') {
      settled.add(`${kind} ${backupId}`);
      if (kind === 'drill') settled.add(`verify ${backupId}`);
    } else if (
      (kind === 'verify' || kind === 'drill') &&
      DAMAGE_CODES.has(errorCode) &&
      !settled.has(`${kind} ${backupId}`)
    )
      damaged.add(backupId);
  }
  return damaged;
}

function lastVerified(jobs: readonly Job[]): RepositoryStanding['lastVerified'] {
  const last = jobs.find(
    ({ kind, status }) => (kind === 'verify' || kind === 'drill') && status === 'succeeded',
  );
  return last === undefined || last.finishedAtMs === null
    ? null
    : { backupId: last.backupId, atMs: last.finishedAtMs };
}

function lastDrill(jobs: readonly Job[]): RepositoryStanding['lastDrill'] {
  const drill = jobs.find(({ kind, status }) => kind === 'drill' && status === 'succeeded');
  if (drill === undefined || drill.finishedAtMs === null) return null;
  return { atMs: drill.finishedAtMs, tookMs: drill.finishedAtMs - drill.startedAtMs };
}

/** Nobody should make a repository below the place where a disk belongs. */
const MOUNT = 'Backups in it are on record: mount its disk, or bring the folder back.';

/** What was cancelled on request says nothing. */
function failureOf(jobs: readonly Job[], kind: JobKind, hasBackups: boolean): FailedAttempt[] {
  const last = jobs.find(
    (job) => job.kind === kind && job.finishedAtMs !== null && job.errorCode !== 'CANCELLED',
  );
  if (last === undefined || last.status === 'succeeded' || last.finishedAtMs === null) return [];
  const { finishedAtMs: atMs, errorCode: code, error: reason, errorHint } = last;
  const isAway = hasBackups && code === 'DESTINATION_NOT_FOUND';
  return [{ kind, atMs, code, reason, hint: isAway ? MOUNT : errorHint }];
}

/** What `status` says of them. */
export interface OffsiteStanding {
  /** Null where the jobs could not be read. */
  readonly repositories: readonly RepositoryStanding[] | null;
  /** What a person should know of them, one clause each; ages are those of the moment that is given. */
  notesAt(nowMs: number): string[];
}

/** Never rejects: that backups elsewhere cannot be told hides nothing of the snapshots. */
export async function offsiteStanding(dataDir: string, options: ShowJobOptions): Promise<OffsiteStanding> {
  try {
    const repositories = await repositoryStandings(dataDir, options);
    return { repositories, notesAt: (nowMs) => failures(repositories, nowMs) };
  } catch (error) {
    const { code, message } = toStillpointError(error);
    const note = `what was backed up elsewhere cannot be told: ${message} (${code})`;
    return { repositories: null, notesAt: () => [note] };
  }
}

const failures = (standings: readonly RepositoryStanding[], nowMs: number): string[] =>
  standings.flatMap(({ repositoryUrl, failing }) =>
    failing.map(
      ({ kind, atMs, code }) =>
        `the last ${kind} ${PREPOSITION[kind]} ${repositoryUrl ?? 'a repository'} failed ${age(nowMs - atMs)} ago (${code ?? 'no reason on record'})`,
    ),
  );

const PREPOSITION: Readonly<Record<JobKind, string>> = {
  backup: 'to',
  restore: 'from',
  verify: 'of',
  drill: 'from',
  prune: 'of',
};
