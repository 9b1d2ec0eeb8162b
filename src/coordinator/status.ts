import { dirname } from 'node:path';
import { isExchange } from '../operation/lineage.ts';
import type { RunRecord } from '../operation/run-record.ts';
import { age } from '../options/age.ts';
import { LEVELS } from '../options/choices.ts';
import { OptionSet, type OptionsOf, optional } from '../options/option.ts';
import { size } from '../options/size.ts';
import { milliseconds } from '../options/values.ts';
import type { NextSnapshot } from '../snapshot/capture/next-snapshot.ts';
import { spareBytes } from '../snapshot/capture/space.ts';
import { nameOf, UNDO } from '../snapshot/store/layout.ts';
import type { UndoStanding } from '../snapshot/store/prune-undo.ts';
import type { ListedSnapshot, SnapshotTotal } from '../snapshot/store/standing.ts';
import { type RoomLeft, roomLeft } from './room-left.ts';
import type { Findings, KeptFolders } from './status-findings.ts';

export const statusOptions = new OptionSet(() => ({
  maxAgeMs: optional(milliseconds(), {
    description: 'The newest good snapshot must not be older than this.',
    without: 'any age will do',
    unit: 'milliseconds',
    flag: { name: 'max-age' },
  }),
}));
export type StatusOptions = OptionsOf<typeof statusOptions>;

/** Whether the data of a directory can be brought back, and what speaks against it. */
export interface SnapshotsStatus {
  /**
   * False when a snapshot is damaged, none is good, the newest good one is too old, an attempt or a verification found the database itself
   * damaged, or a restore in place has not ended.
   */
  readonly safe: boolean;
  /** One sentence: `Safe: …` or `Not safe: …`. */
  readonly summary: string;
  /** Why it is not safe, one clause each. */
  readonly problems: readonly string[];
  /** What does not make it unsafe and should be known. */
  readonly notes: readonly string[];
  /** When the last snapshot that ended well was taken; when it ended, if it is gone. */
  readonly lastSuccessAtMs: number | null;
  readonly lastFailure: {
    readonly atMs: number | null;
    readonly code: string | null;
    readonly reason: string | null;
    /** What to do about it. */
    readonly hint: string | null;
  } | null;
  /** The last restore in place that ended well, of which snapshot, and how long it took; null when none is on record. */
  readonly lastRestore: {
    readonly name: string;
    readonly atMs: number;
    readonly tookMs: number;
    /** When the last undo after it ended well; null when there was none. */
    readonly undoAtMs: number | null;
  } | null;
  /** The last restore or undo, if it failed. */
  readonly lastRestoreFailure: SnapshotsStatus['lastFailure'];
  /** The newest snapshot that is proven to any level and not known to be damaged. */
  readonly newestGood: ListedSnapshot | null;
  /** How far back the data can be brought: the oldest snapshot that is good. */
  readonly oldestGood: { readonly name: string; readonly createdAtMs: number } | null;
  readonly latest: string | null;
  /** The newest of the deepest proof. */
  readonly latestGood: string | null;
  /** An attempt or a verification found the database that is there now damaged, and none of all its content since found it whole. */
  readonly sourceDamaged: boolean;
  /** Where the database was brought back from, if it does not go back to the newest snapshot, which may hold writes that it lacks. */
  readonly putBackFrom: string | null;
  /** Names of snapshots after which the database went back, or was begun anew: they may hold writes that no newer one has. */
  readonly leftBehind: readonly string[];
  readonly damaged: readonly {
    readonly name: string;
    readonly location: string;
    readonly damage: string | null;
  }[];
  /** Names of snapshots that could not be looked at or read in whole. */
  readonly unread: readonly string[];
  /** Names of snapshots of which no proof is on record. */
  readonly unproven: readonly string[];
  /** The longest time for which a file of a snapshot that is not damaged was not read. */
  readonly oldestProof: { readonly name: string; readonly verifiedAtMs: number } | null;
  readonly total: SnapshotTotal;
  /** What restores in place replaced; `undo` brings the newest back. */
  readonly undo: KeptFolders;
  readonly undoFolders: readonly UndoStanding[];
  readonly archives: KeptFolders;
  readonly exports: KeptFolders;
  readonly freeBytes: number;
  readonly next: (NextSnapshot & { readonly fits: boolean }) | null;
  readonly room: RoomLeft;
  /** What restoring `latestGood` in place takes at most, beside what is there; null without one. */
  readonly restoreBytes: number | null;
  /** On the disk of the data directory: a restore in place goes there. `freeBytes` is of the disk of the snapshots. */
  readonly dataFreeBytes: number;
  readonly prunable: Findings['prunable'];
}

type LastFailure = NonNullable<SnapshotsStatus['lastFailure']>;

/** A clock may be a little off; a snapshot of a time further to come says nothing about its age. */
const CLOCK_DIFFERENCE_MS = 5 * 60_000;
const NAMES_SHOWN = 3;

/** Judges what was gathered. Ages are those of `nowMs`. */
export function statusFrom(findings: Findings, nowMs: number, maxAgeMs: number | undefined): SnapshotsStatus {
  const { dataDir: _, runs, lineage, isRestoreUnfinished, outOfSight, snapshots: listed, ...rest } = findings;
  const { putBackFrom = null } = findings;
  const snapshots = listed.map((snapshot) => ({ ...snapshot, ageMs: nowMs - snapshot.createdAtMs }));
  const inState = (wanted: ListedSnapshot['state']) => snapshots.filter(({ state }) => state === wanted);
  const good = inState('good');
  const newestGood = newestOf(good);
  const oldest = sorted(good)[0];
  const damaged = inState('damaged');
  const unread = inState('unread').map(({ name }) => name);
  const backups = runs.filter(({ kind }) => kind === 'backup');
  const success = backups.findLast(({ state }) => state.status === 'completed');
  const failed = backups.filter(({ state }) => state.status === 'failed').map(failureOf);
  const lastFailure = failed.at(-1) ?? null;
  // Its own time where it stands: one event has one age.
  const taken = snapshots.find(({ location }) => location === success?.location) ?? newestOf(snapshots);
  const lastSuccessAtMs =
    (success === undefined || taken?.location === success.location
      ? taken?.createdAtMs
      : success.state.finishedAtMs) ?? null;
  const unsolved = unsolvedFailure({ lastFailure, lastSuccessAtMs });
  const exchange = runs.findLast(isExchange);
  const restoreFailure = exchange?.state.status === 'failed' ? failureOf(exchange) : null;
  const { damage } = lineage.now;
  const holding = findings.undoFolders
    .filter(({ mayHoldWrites }) => mayHoldWrites)
    .map(({ name }) => `${UNDO}/${name}`);
  const newer = inState('unproven').filter(({ sequence }) => (sequence ?? -1) > (newestGood?.sequence ?? -1));

  const { neededBytes = 0 } = findings.next ?? {};
  const fits = neededBytes + spareBytes(neededBytes) <= findings.freeBytes;
  const next = findings.next && { ...findings.next, fits };

  const problems = [
    ...damageProblem(damaged, snapshots.length),
    ...(newestGood === undefined ? [nothingGood(snapshots)] : ageProblem(newestGood, maxAgeMs)),
    ...(damage === undefined
      ? []
      : [
          `the database itself is damaged, as was found ${age(nowMs - (damage.state.finishedAtMs ?? nowMs))} ago`,
        ]),
    ...(isRestoreUnfinished
      ? ['a restore in place has not ended; if none is under way, run `stillpoint recover DIR`']
      : []),
  ];
  const safe = problems.length === 0;
  const best = good.find(({ name }) => name === findings.latestGood);
  const notes = [
    ...(unsolved === undefined ? [] : [failureNote('the last attempt', unsolved, nowMs)]),
    ...(newestGood !== undefined && best !== undefined && isDeeper(best, newestGood)
      ? [`the newest proven at level "${best.level}" is ${best.name}, ${age(best.ageMs)} old`]
      : []),
    ...(newestGood !== undefined && putBackFrom !== null
      ? [
          `what is in the database came from ${placeText(putBackFrom)}, so ${newestGood.name} may hold writes that it lacks`,
        ]
      : []),
    ...(findings.leftBehind.length > 0
      ? [`${named(findings.leftBehind)} may hold writes that no newer one has: the database went back since`]
      : []),
    ...(newestGood !== undefined && newer.length > 0
      ? [
          `${named(newer.map(({ name }) => name))} came later and has no proof that holds: \`stillpoint verify DIR --all\` reads it`,
        ]
      : []),
    ...(restoreFailure === null ? [] : [failureNote(`the last ${exchange!.kind}`, restoreFailure, nowMs)]),
    ...(holding.length > 0
      ? [
          `${holding.length} undo folder${holding.length === 1 ? '' : 's'} may hold writes that no snapshot has (${named(holding)})`,
        ]
      : []),
    ...(outOfSight === undefined
      ? []
      : [
          `${outOfSight.count} more from before stand in ${outOfSight.folder}, and are found by their paths only`,
        ]),
    ...fullNote(findings.dataFreeBytes),
    ...spaceNote(next, findings.freeBytes),
    ...(unread.length > 0 ? [`not all could be read of ${named(unread)}`] : []),
  ];
  return {
    safe,
    summary: summaryOf(problems, newestGood, notes),
    problems,
    notes,
    lastSuccessAtMs,
    lastFailure,
    lastRestore: lastRestore(runs),
    lastRestoreFailure: restoreFailure,
    newestGood: newestGood ?? null,
    sourceDamaged: damage !== undefined,
    oldestGood: oldest === undefined ? null : { name: oldest.name, createdAtMs: oldest.createdAtMs },
    damaged: damaged.map(({ name, location, damage }) => ({ name, location, damage })),
    unread,
    unproven: inState('unproven').map(({ name }) => name),
    oldestProof: oldestProof(good),
    restoreBytes: best?.diskBytes ?? null,
    ...rest,
    putBackFrom,
    next,
    room: roomLeft(findings),
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

const failureOf = ({ state: { finishedAtMs, code, reason, hint } }: RunRecord): LastFailure => ({
  atMs: finishedAtMs,
  code,
  reason,
  hint,
});

function lastRestore(runs: readonly RunRecord[]): SnapshotsStatus['lastRestore'] {
  const at = runs.findLastIndex(({ kind, state }) => kind === 'restore' && state.status === 'completed');
  const { location = '', state } = runs[at] ?? {};
  const { startedAtMs = null, finishedAtMs = null } = state ?? {};
  if (startedAtMs === null || finishedAtMs === null) return null;
  const undo = runs.slice(at).findLast((run) => run.kind === 'undo' && run.state.status === 'completed');
  return {
    name: nameOf(location),
    atMs: finishedAtMs,
    tookMs: finishedAtMs - startedAtMs,
    undoAtMs: undo?.state.finishedAtMs ?? null,
  };
}

/** The last failed attempt, if none succeeded after it, and it is not told as damage of the database. */
export function unsolvedFailure({
  lastFailure: failure,
  lastSuccessAtMs,
}: Pick<SnapshotsStatus, 'lastFailure' | 'lastSuccessAtMs'>): LastFailure | undefined {
  if (failure?.atMs == null || failure.atMs <= (lastSuccessAtMs ?? Number.NEGATIVE_INFINITY))
    return undefined;
  return isDamageOfSource(failure) ? undefined : failure;
}

/** Of an undo folder with the folder around it: its name is like that of a snapshot. */
const placeText = (location: string): string =>
  nameOf(dirname(location)) === UNDO ? `${UNDO}/${nameOf(location)}` : nameOf(location);

const isDamageOfSource = ({ code }: LastFailure): boolean =>
  code === 'SOURCE_DAMAGED' || code === 'DATABASE_DAMAGED';

const failureNote = (what: string, { atMs, code }: LastFailure, nowMs: number): string =>
  `${what} failed ${atMs === null ? '' : `${age(nowMs - atMs)} ago `}(${code ?? 'no reason on record'})`;

/** Less is nothing to a database. */
const FULL_BYTES = 1024 * 1024;

const fullNote = (freeBytes: number): string[] =>
  freeBytes >= FULL_BYTES
    ? []
    : [
        `the disk of the database is full (${size(freeBytes)} left): free space there, and restart the program that has the database open if it takes no writes then`,
      ];

function spaceNote(next: SnapshotsStatus['next'], freeBytes: number): string[] {
  if (next === null || next.fits) return [];
  const { neededBytes } = next;
  const spare =
    neededBytes <= freeBytes ? ` and must leave ${size(spareBytes(neededBytes))} for the database` : '';
  return [
    `${size(freeBytes)} are free on the disk, and the next snapshot needs up to ${size(neededBytes)}${spare}`,
  ];
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
