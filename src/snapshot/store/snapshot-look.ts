import { join } from 'node:path';
import { MANIFEST } from '../../engine/engine.ts';
import { mapConcurrent } from '../../env/concurrency.ts';
import type { FileStat } from '../../env/file-system.ts';
import { RunControl } from '../../env/run-control.ts';
import { LEVELS } from '../../options/choices.ts';
import type { Environment } from '../environment.ts';
import { type FileProof, type Ledger, readLedger } from '../ledger/ledger-file.ts';
import { isProofOf } from '../ledger/proven-files.ts';
import { compareTree } from '../verify/compare-tree.ts';
import { filesBelow } from './disk-use.ts';
import type { Standing } from './known-snapshot.ts';
import { isSnapshotPlace } from './layout.ts';
import { type ReadSummary, readSummary } from './list.ts';
import type { ParsedManifest } from './manifest.ts';

/** What looking at a snapshot needs, on whichever thread. */
type Outside = Pick<Environment, 'fs' | 'pool'>;

/** A look mostly waits for the disk. */
export const LOOKS_AT_ONCE = 8;

/** Such looks would hold up the main thread when they cross to it. */
const MOST_ENTRIES = 1_000;

/**
 * The worker thread's part of a look at many snapshots. Undefined for one that is not plainly our own, or cannot be looked at: the main
 * thread, which knows the engines of its host, looks at it by itself and tells the error.
 */
export async function lookInThread(
  outside: Outside,
  locations: readonly string[],
): Promise<(Standing | undefined)[]> {
  const looks: (Standing | undefined)[] = [];
  for (const location of locations) looks.push(await plainLook(outside, location).catch(() => undefined));
  return looks;
}

async function plainLook(outside: Outside, location: string): Promise<Standing | undefined> {
  const read = await readSummary(outside, location);
  const { snapshot, entries = [] } = read.manifest ?? {};
  if (snapshot?.engine === undefined || entries.length > MOST_ENTRIES) return undefined;
  const standing = await standingOf(outside, read);
  const files = standing.files.map(({ ino, links, allocatedBytes }) => ({ ino, links, allocatedBytes }));
  return { ...standing, files };
}

export const NOTHING_KNOWN = { depth: -1, verifiedAtMs: null, mediumAtMs: null } as const;

/** Rejects where the system would not let this process look. */
export async function standingOf(
  env: Outside,
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
  for (const { at_ms } of damaged.values()) last = Math.max(last, at_ms);
  return last;
}

/** What is wrong with a path; in the order in which it is told. */
const WRONGS = ['damaged', 'missing', 'extra'] as const;
type Wrong = (typeof WRONGS)[number];
const WRONG: Readonly<Record<string, Wrong>> = { FILE_MISSING: 'missing', FILE_EXTRA: 'extra' };

/** The paths that are wrong, and the files as they are on the disk. */
async function lookAt(
  env: Outside,
  location: string,
  { entries }: ParsedManifest,
  { proofs, damaged }: Ledger,
): Promise<{ wrong: ReadonlyMap<string, Wrong>; files: FileStat[]; isTouched: boolean }> {
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
  const wrong = new Map<string, Wrong>();
  for (const path of damaged.keys()) wrong.set(path, 'damaged');
  for (const { path } of differs) wrong.set(path, 'damaged');
  for (const { path, code } of findings) wrong.set(path, WRONG[code] ?? 'damaged');
  return { wrong, files: files.filter(({ kind }) => kind === 'file'), isTouched };
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

function damageText(wrong: ReadonlyMap<string, Wrong>): string | undefined {
  const clauses = WRONGS.map((kind) => {
    const paths = [...wrong].filter(([, one]) => one === kind).map(([path]) => path);
    if (paths.length === 0) return undefined;
    const more = paths.length - NAMES_SHOWN;
    const names = paths.slice(0, NAMES_SHOWN).join(', ') + (more > 0 ? ` and ${more} more` : '');
    if (kind === 'extra') return `${names} ${paths.length === 1 ? 'does' : 'do'} not belong to it`;
    return `${names} ${paths.length === 1 ? 'is' : 'are'} ${kind}`;
  });
  return clauses.filter((clause) => clause !== undefined).join('; ') || undefined;
}
