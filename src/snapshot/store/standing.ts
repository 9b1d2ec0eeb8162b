import { join } from 'node:path';
import { MANIFEST } from '../../engine/engine.ts';
import { mapConcurrent } from '../../env/concurrency.ts';
import type { FileStat } from '../../env/file-system.ts';
import { RunControl } from '../../env/run-control.ts';
import { isRefusal, StillpointError, toStillpointError } from '../../errors.ts';
import { LEVELS, type Level } from '../../options/choices.ts';
import type { Environment } from '../environment.ts';
import { type FileProof, type Ledger, readLedger } from '../ledger/ledger-file.ts';
import { isProofOf } from '../ledger/proven-files.ts';
import { compareTree } from '../verify/compare-tree.ts';
import { DiskCount, type DiskUse, filesBelow } from './disk-use.ts';
import { compareNames, isSnapshotPlace, type Layout } from './layout.ts';
import { noneYet, type ReadSummary, readSummary, type SnapshotSummary, snapshotLocations } from './list.ts';
import type { ParsedManifest } from './manifest.ts';

/** What is known of a snapshot without reading its files. */
export interface Standing {
  readonly snapshot: SnapshotSummary;
  /** Why it is known to be damaged; undefined when nothing says so. */
  readonly damage: string | undefined;
  /** Why nothing at all is known of it: the system would not let this process look. Undefined otherwise. */
  readonly refusal: string | undefined;
  /** How deep its proof went, as an index into `LEVELS`; -1 when nobody knows. */
  readonly depth: number;
  /** Whether parts of it could not be read by the proof. */
  readonly isUnread: boolean;
  /** The oldest proof among its files, for a damaged one the newest; null when that is not on record. */
  readonly verifiedAtMs: number | null;
  /** The oldest proof among its files that read the device itself, and not memory; null when a file has none. */
  readonly mediumAtMs: number | null;
  /** Its files on the disk. */
  readonly files: readonly FileStat[];
}

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

/** A look at a snapshot mostly waits for the disk. */
const LOOKS_AT_ONCE = 8;

/** The snapshots of a data directory with what is known of them, in the order in which they were taken. */
export async function standings(env: Environment, layout: Layout): Promise<Standing[]> {
  const known = await mapConcurrent(
    await snapshotLocations(env.fs, layout),
    LOOKS_AT_ONCE,
    async (location) => {
      const read = await readSummary(env, location);
      return standingOf(env, read).catch((error) => hidden(read.summary, error));
    },
  );
  return known.sort(bySequence);
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
  const listed = await mapConcurrent(
    await snapshotLocations(env.fs, layout),
    LOOKS_AT_ONCE,
    async (location) => {
      let standing: Standing | undefined;
      const snapshot = await orGone(env, location, () =>
        listedSnapshot(env, location, disk, (one) => {
          standing = one;
        }),
      );
      if (snapshot !== undefined && standing !== undefined) known.push(standing);
      return snapshot;
    },
  );
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
    return { ...described(standing), ageMs, ...disk.add(standing.files) };
  } catch (error) {
    const damage = toStillpointError(error).message;
    const unknown = { level: null, verifiedAtMs: null, mediumAtMs: null, diskBytes: null, ownBytes: null };
    return { ...snapshot, state: 'unread', damage, ageMs, ...unknown };
  }
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

const NOTHING_KNOWN = { depth: -1, verifiedAtMs: null, mediumAtMs: null } as const;

/** Rethrows what is no refusal. */
function hidden(snapshot: SnapshotSummary, error: unknown): Standing {
  if (!isRefusal(error)) throw error;
  const refusal = toStillpointError(error).message;
  return { snapshot, damage: undefined, refusal, isUnread: true, files: [], ...NOTHING_KNOWN };
}

/** Rejects where the system would not let this process look. */
async function standingOf(
  env: Environment,
  { summary: snapshot, manifest, refusal }: ReadSummary,
): Promise<Standing> {
  const { location, problem } = snapshot;
  if (refusal !== undefined) throw refusal;
  const untrusted = async (damage: string): Promise<Standing> => {
    const files = await filesBelow(env.fs, location);
    return { snapshot, damage, refusal: undefined, isUnread: false, files, ...NOTHING_KNOWN };
  };
  if (problem !== null) return untrusted(problem);
  if (manifest === undefined) return untrusted('the manifest cannot be read');
  const ledger = await readLedger(env.fs, location);
  const { wrong, files, isTouched } = await lookAt(env, location, manifest, ledger);
  const damage = manifest.rewritten ? 'the manifest was changed' : damageText(wrong);

  const recorded = manifest.entries.map((entry) => {
    const proof = ledger.proofs.get(entry.path);
    return isProofOf(proof, entry) ? proof : undefined;
  });
  const depths = recorded.map((proof) => (proof === undefined ? -1 : LEVELS.indexOf(proof.level)));
  // A copy elsewhere was never proven by who published the snapshot.
  const publishedLevel = isSnapshotPlace(location) ? manifest.snapshot?.level : undefined;
  const published = publishedLevel === undefined ? -1 : LEVELS.indexOf(publishedLevel);
  // What could not be read is not proven any deeper than the checksums of its files.
  const isUnread = recorded.some((proof) => proof?.warnings?.some(({ verdict }) => verdict === 'unread'));
  const proven = Math.max(published, leastOf(depths));
  // Of files that no engine knows, any proof says that they are the bytes that were there, and no more.
  const told = isUnread ? 0 : snapshot.engine === 'files' ? Math.min(proven, 0) : proven;
  const depth = isTouched ? -1 : told;
  const oldestMs = leastOf(recorded.map((proof) => proof?.proven_at_ms ?? Number.NaN));
  const mediumAtMs = leastOf(recorded.map((proof) => proof?.medium_at_ms ?? Number.NaN));
  const verifiedAtMs = damage === undefined ? oldestMs : lastReadMs(ledger);
  return {
    snapshot,
    damage,
    refusal: undefined,
    depth,
    isUnread,
    verifiedAtMs: Number.isFinite(verifiedAtMs) ? verifiedAtMs : null,
    mediumAtMs: damage === undefined && Number.isFinite(mediumAtMs) ? mediumAtMs : null,
    files,
  };
}

/** As `Math.min`, which takes no hundred thousand arguments. */
const leastOf = (numbers: readonly number[]): number =>
  numbers.reduce((least, one) => Math.min(least, one), Number.POSITIVE_INFINITY);

function lastReadMs({ proofs, damaged }: Ledger): number {
  let last = Number.NEGATIVE_INFINITY;
  for (const { proven_at_ms } of proofs.values()) last = Math.max(last, proven_at_ms);
  for (const foundAtMs of damaged.values()) last = Math.max(last, foundAtMs);
  return last;
}

/** The paths that are damaged, and the files as they are on the disk. */
async function lookAt(
  env: Environment,
  location: string,
  { entries }: ParsedManifest,
  { proofs, damaged }: Ledger,
): Promise<{ wrong: string[]; files: FileStat[]; isTouched: boolean }> {
  const { fs } = env;
  const { files: found, findings } = await compareTree(fs, location, entries, new RunControl());
  const extra = findings.filter(({ code }) => code === 'FILE_EXTRA').map(({ path }) => path);
  const others = await mapConcurrent([MANIFEST, ...extra], LOOKS_AT_ONCE, (path) =>
    fs.inspect(join(location, path)),
  );
  const files = [...found.map(({ stat }) => stat), ...others].filter((stat) => stat !== undefined);
  const [sealed] = others;
  const isTouched =
    isSnapshotPlace(location) &&
    found.some(({ path, stat }) => stat && isWrittenSince(stat, proofs.get(path), sealed));
  // A file that was read and had another checksum has a proof of what it is now.
  const differs = entries.filter(
    (entry) => proofs.has(entry.path) && !isProofOf(proofs.get(entry.path), entry),
  );
  const wrong = new Set([...findings, ...differs].map(({ path }) => path).concat(...damaged.keys()));
  return { wrong: [...wrong], files: files.filter(({ kind }) => kind === 'file'), isTouched };
}

/** Some file systems round the times of what they have written to the disk, FAT to two seconds. */
const TIME_DIFFERENCE_NS = 2_000_000_000n;

/**
 * Whether somebody wrote into a file after it was proven, or after its snapshot was sealed where no proof of this very file is on record. It
 * may be the same bytes: only reading it again tells.
 */
function isWrittenSince(
  { ino, mtimeNs }: FileStat,
  proof: FileProof | undefined,
  sealed: FileStat | undefined,
): boolean {
  if (proof?.ino === ino.toString()) {
    const sinceNs = mtimeNs - BigInt(proof.mtime_ns);
    return sinceNs > TIME_DIFFERENCE_NS || -sinceNs > TIME_DIFFERENCE_NS;
  }
  return sealed !== undefined && mtimeNs - sealed.mtimeNs > TIME_DIFFERENCE_NS;
}

const NAMES_SHOWN = 3;

function damageText(paths: readonly string[]): string | undefined {
  if (paths.length === 0) return undefined;
  const more = paths.length - NAMES_SHOWN;
  const names = paths.slice(0, NAMES_SHOWN).join(', ') + (more > 0 ? ` and ${more} more` : '');
  return `${names} ${paths.length === 1 ? 'is' : 'are'} damaged`;
}

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
  return new StillpointError(
    'NOT_FOUND',
    `${many} of ${dataDir} ${are} damaged or cannot be looked at: ${named}${rest}`,
    {
      path: dataDir,
      hint: 'Take a new one if the database is whole: `stillpoint snapshot DIR --full`. Otherwise restore a backup from a repository: `stillpoint backup restore`. `stillpoint verify DIR --all` tells all that is damaged.',
    },
  );
}
