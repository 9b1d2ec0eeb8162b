import { join } from 'node:path';
import { listIfPresent } from '../env/io.ts';
import type { RunRecord } from '../operation/records.ts';
import { age } from '../options/age.ts';
import { LEVELS } from '../options/choices.ts';
import { OptionSet, type OptionsOf, optional } from '../options/option.ts';
import { size } from '../options/size.ts';
import { milliseconds } from '../options/values.ts';
import type { Environment } from '../snapshot/environment.ts';
import { DirectoryExchange } from '../snapshot/restore/directory-exchange.ts';
import { DiskCount, filesBelow } from '../snapshot/store/disk-use.ts';
import { isSnapshotName, type Layout } from '../snapshot/store/layout.ts';
import { leftBehind } from '../snapshot/store/left-behind.ts';
import { latestName } from '../snapshot/store/list.ts';
import {
  type ListedSnapshot,
  listWithState,
  type SnapshotStates,
  type SnapshotTotal,
} from '../snapshot/store/standing.ts';

export const statusOptions = new OptionSet(() => ({
  maxAgeMs: optional(milliseconds(), {
    description: 'The newest good snapshot must not be older than this.',
    without: 'any age will do',
    unit: 'milliseconds',
    flag: { name: 'max-age' },
  }),
}));
export type StatusOptions = OptionsOf<typeof statusOptions>;

/** Folders that somebody may remove, and what they take on the disk. */
export interface KeptFolders {
  readonly count: number;
  /** A file that several of them share counts once. */
  readonly diskBytes: number;
  /** From their names; null when there are none. */
  readonly oldestAtMs: number | null;
  readonly newestAtMs: number | null;
}

/** Whether the data of a directory can be brought back, and what speaks against it. */
export interface SnapshotsStatus {
  /**
   * False when a snapshot is damaged, none is good, the newest good one is too old, the last attempt found the database itself damaged, or
   * a restore in place has not ended.
   */
  readonly safe: boolean;
  /** One sentence: `Safe: …` or `Not safe: …`. */
  readonly summary: string;
  /** Why it is not safe, one clause each. */
  readonly problems: readonly string[];
  /** What does not make it unsafe and should be known. */
  readonly notes: readonly string[];
  /** When the last backup ended well, or the newest snapshot was taken if that is not on record. */
  readonly lastSuccessAtMs: number | null;
  readonly lastFailure: {
    readonly atMs: number | null;
    readonly code: string | null;
    readonly reason: string | null;
  } | null;
  /** The last restore in place that ended well, and how long it took; null when none is on record. */
  readonly lastRestore: { readonly atMs: number; readonly tookMs: number } | null;
  /** The newest snapshot that is proven to any level and not known to be damaged. */
  readonly newestGood: ListedSnapshot | null;
  /** How far back the data can be brought: the oldest snapshot that is good. */
  readonly oldestGood: { readonly name: string; readonly createdAtMs: number } | null;
  readonly latest: string | null;
  /** The newest of the deepest proof. */
  readonly latestGood: string | null;
  /** An attempt found the database itself damaged, and nothing was put in its place since. */
  readonly sourceDamaged: boolean;
  readonly damaged: readonly { readonly name: string; readonly damage: string | null }[];
  /** Names of snapshots that could not be looked at or read in whole. */
  readonly unread: readonly string[];
  /** Names of snapshots of which no proof is on record. */
  readonly unproven: readonly string[];
  /** The longest time for which a file of a snapshot that is not damaged was not read. */
  readonly oldestProof: { readonly name: string; readonly verifiedAtMs: number } | null;
  readonly total: SnapshotTotal;
  /** What restores in place replaced; `undo` brings the newest back. */
  readonly undo: KeptFolders;
  readonly archives: KeptFolders;
  readonly exports: KeptFolders;
  readonly freeBytes: number;
}

/** What `statusFrom` judges: all that is on the disk. */
export interface Findings extends SnapshotStates {
  readonly latest: string | null;
  readonly runs: readonly RunRecord[];
  readonly isRestoreUnfinished: boolean;
  /** Names of snapshots after which the database went back, or was begun anew. */
  readonly leftBehind: readonly string[];
  readonly undo: KeptFolders;
  readonly archives: KeptFolders;
  readonly exports: KeptFolders;
  readonly freeBytes: number;
}

/** Looks at names, sizes and the ledger. Reads no data, and changes nothing. */
export async function gather(
  env: Environment,
  layout: Layout,
  runs: readonly RunRecord[],
): Promise<Findings> {
  const states = await listWithState(env, layout);
  const ahead = await leftBehind(env.fs, layout);
  return {
    ...states,
    runs,
    latest: (await latestName(env.fs, layout.backup)) ?? null,
    isRestoreUnfinished: (await DirectoryExchange.findInterrupted(env.fs, layout)) !== undefined,
    leftBehind: states.snapshots.map(({ name }) => name).filter((name) => ahead.has(name)),
    undo: await keptFolders(env, layout.undo),
    archives: await keptFolders(env, layout.archive),
    exports: await keptFolders(env, layout.export),
    freeBytes: await env.fs.freeBytes(layout.home),
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

type LastFailure = NonNullable<SnapshotsStatus['lastFailure']>;

/** A clock may be a little off; a snapshot of a time further to come says nothing about its age. */
const CLOCK_DIFFERENCE_MS = 5 * 60_000;
const NAMES_SHOWN = 3;

/** Judges what was gathered. Ages are those of `nowMs`. */
export function statusFrom(findings: Findings, nowMs: number, maxAgeMs: number | undefined): SnapshotsStatus {
  const { runs, isRestoreUnfinished, leftBehind: ahead, snapshots: listed, ...rest } = findings;
  const snapshots = listed.map((snapshot) => ({ ...snapshot, ageMs: nowMs - snapshot.createdAtMs }));
  const inState = (wanted: ListedSnapshot['state']) => snapshots.filter(({ state }) => state === wanted);
  const good = inState('good');
  const newestGood = newestOf(good);
  const oldest = sorted(good)[0];
  const damaged = inState('damaged');
  const unread = inState('unread').map(({ name }) => name);
  const backups = runs.filter(({ kind }) => kind === 'backup');
  const success = backups.findLast(({ state }) => state.status === 'completed')?.state.finishedAtMs ?? null;
  const failed = backups.filter(({ state }) => state.status === 'failed').map(failureOf);
  const lastFailure = failed.at(-1);
  const lastSuccessAtMs = success ?? newestOf(snapshots)?.createdAtMs ?? null;
  // Until a snapshot goes well or a restore puts other files there: an attempt that failed for another reason says nothing.
  const damage = failed.findLast(isDamageOfSource);
  const exchanged = runs.findLast(({ kind, state }) => isExchange(kind) && state.status === 'completed');
  const restoredAtMs = exchanged?.kind === 'restore' ? exchanged.state.finishedAtMs : null; // an undo may bring the damage back
  const replacedAtMs = Math.max(lastSuccessAtMs ?? 0, restoredAtMs ?? 0);

  const sourceDamaged = failedSince(damage, replacedAtMs);
  const newer = inState('unproven').filter(({ sequence }) => (sequence ?? -1) > (newestGood?.sequence ?? -1));

  const problems = [
    ...damageProblem(damaged, snapshots.length),
    ...(newestGood === undefined ? [nothingGood(snapshots)] : ageProblem(newestGood, maxAgeMs)),
    ...(sourceDamaged
      ? [
          `the database itself is damaged, as an attempt to take a snapshot found ${age(nowMs - damage!.atMs!)} ago`,
        ]
      : []),
    ...(isRestoreUnfinished
      ? ['a restore in place has not ended; if none is under way, run `stillpoint recover DIR`']
      : []),
  ];
  const safe = problems.length === 0;
  const best = good.find(({ name }) => name === findings.latestGood);
  const notes = [
    ...(failedSince(lastFailure, lastSuccessAtMs) && !isDamageOfSource(lastFailure!)
      ? [failureNote(lastFailure!, nowMs)]
      : []),
    ...(newestGood !== undefined && best !== undefined && isDeeper(best, newestGood)
      ? [`the newest proven at level "${best.level}" is ${best.name}, ${age(best.ageMs)} old`]
      : []),
    ...(ahead.length > 0
      ? [`${named(ahead)} may hold writes that no newer one has: the database went back since`]
      : []),
    ...(newestGood !== undefined && newer.length > 0
      ? [
          `${named(newer.map(({ name }) => name))} came later and has no proof that holds: \`stillpoint verify DIR --all\` reads it`,
        ]
      : []),
    ...spaceNote(newestGood, findings.freeBytes),
    ...(unread.length > 0 ? [`not all could be read of ${named(unread)}`] : []),
  ];
  return {
    safe,
    summary: summaryOf(problems, newestGood, notes),
    problems,
    notes,
    lastSuccessAtMs,
    lastFailure: lastFailure ?? null,
    lastRestore: lastRestore(runs),
    newestGood: newestGood ?? null,
    sourceDamaged,
    oldestGood: oldest === undefined ? null : { name: oldest.name, createdAtMs: oldest.createdAtMs },
    damaged: damaged.map(({ name, damage }) => ({ name, damage })),
    unread,
    unproven: inState('unproven').map(({ name }) => name),
    oldestProof: oldestProof(good),
    ...rest,
  };
}

function summaryOf(
  problems: readonly string[],
  good: ListedSnapshot | null | undefined,
  notes: readonly string[],
): string {
  const proven = good ? [`${good.name}, ${age(good.ageMs)} old, is proven at level "${good.level}"`] : [];
  return `${problems.length === 0 ? 'Safe' : 'Not safe'}: ${[...problems, ...proven, ...notes].join('; ')}.`;
}

/** The same status with more that should be known, also in its sentence. */
export function withNotes(status: SnapshotsStatus, more: readonly string[]): SnapshotsStatus {
  const notes = [...status.notes, ...more];
  return { ...status, notes, summary: summaryOf(status.problems, status.newestGood, notes) };
}

const sorted = (snapshots: readonly ListedSnapshot[]): ListedSnapshot[] =>
  [...snapshots].sort((a, b) => (a.sequence ?? -1) - (b.sequence ?? -1));

const newestOf = (snapshots: readonly ListedSnapshot[]): ListedSnapshot | undefined =>
  sorted(snapshots).at(-1);

const isDeeper = (a: ListedSnapshot, b: ListedSnapshot): boolean =>
  LEVELS.indexOf(a.level ?? 'files') > LEVELS.indexOf(b.level ?? 'files');

function damageProblem(damaged: readonly ListedSnapshot[], all: number): string[] {
  if (damaged.length === 0) return [];
  const names = named(damaged.map(({ name }) => name));
  return [
    `${damaged.length} of ${all} snapshot${all === 1 ? '' : 's'} ${damaged.length === 1 ? 'is' : 'are'} damaged (${names})`,
  ];
}

function nothingGood(snapshots: readonly ListedSnapshot[]): string {
  if (snapshots.length === 0) return 'there is no snapshot yet';
  return 'no snapshot has a proof on record that holds';
}

function ageProblem({ name, ageMs }: ListedSnapshot, maxAgeMs: number | undefined): string[] {
  if (maxAgeMs === undefined) return [];
  if (ageMs < -CLOCK_DIFFERENCE_MS)
    return [`${name} is of a time to come, so its age is not known: check the clock`];
  return ageMs > maxAgeMs
    ? [`the newest good snapshot is ${age(ageMs)} old, and ${age(maxAgeMs)} is allowed`]
    : [];
}

const failureOf = ({ state: { finishedAtMs, code, reason } }: RunRecord): LastFailure => ({
  atMs: finishedAtMs,
  code,
  reason,
});

function lastRestore(runs: readonly RunRecord[]): SnapshotsStatus['lastRestore'] {
  const last = runs.findLast(({ kind, state }) => kind === 'restore' && state.status === 'completed');
  const { startedAtMs = null, finishedAtMs = null } = last?.state ?? {};
  if (startedAtMs === null || finishedAtMs === null) return null;
  return { atMs: finishedAtMs, tookMs: finishedAtMs - startedAtMs };
}

const isExchange = (kind: RunRecord['kind']): boolean => kind === 'restore' || kind === 'undo';

const failedSince = (failure: LastFailure | undefined, lastSuccessAtMs: number | null): boolean =>
  failure?.atMs != null && failure.atMs > (lastSuccessAtMs ?? Number.NEGATIVE_INFINITY);

const isDamageOfSource = ({ code }: LastFailure): boolean =>
  code === 'SOURCE_DAMAGED' || code === 'DATABASE_DAMAGED';

const failureNote = ({ atMs, code }: LastFailure, nowMs: number): string =>
  `the last attempt failed ${age(nowMs - atMs!)} ago (${code ?? 'no reason on record'})`;

/** The next one may share files with it and need less; after a restore or a compaction it does not. */
function spaceNote(newestGood: ListedSnapshot | undefined, freeBytes: number): string[] {
  const needed = newestGood?.diskBytes ?? 0;
  if (needed <= freeBytes) return [];
  return [`${size(freeBytes)} are free on the disk, and a snapshot in full takes ${size(needed)}`];
}

function oldestProof(good: readonly ListedSnapshot[]): SnapshotsStatus['oldestProof'] {
  let oldest: SnapshotsStatus['oldestProof'] = null;
  for (const { name, verifiedAtMs } of good) {
    if (verifiedAtMs === null) continue;
    if (oldest === null || verifiedAtMs < oldest.verifiedAtMs) oldest = { name, verifiedAtMs };
  }
  return oldest;
}

function named(names: readonly string[]): string {
  const more = names.length - NAMES_SHOWN;
  return names.slice(-NAMES_SHOWN).join(', ') + (more > 0 ? ` and ${more} more` : '');
}
