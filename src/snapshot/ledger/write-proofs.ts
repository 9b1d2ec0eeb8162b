import { dirname } from 'node:path';
import { isDamaged } from '../../engine/report.ts';
import type { Level } from '../../options/choices.ts';
import type { Environment } from '../environment.ts';
import { placeOf } from '../store/layout.ts';
import type { ManifestEntry } from '../store/manifest.ts';
import type { Proof } from '../verify/prove.ts';
import {
  type Ledger,
  locationsWithLedger,
  readLedger,
  withLedgerLock,
  withProofReserve,
  writeLedger,
} from './ledger-file.ts';
import { condemn, merge, type ReadFile, type Reading } from './merge.ts';

/** How long a writer waits for another one: each holds the lock for one small file. */
export const LEDGER_WAIT_MS = 10_000;
/** For notes that nobody asked for: without them more is read the next time. */
const BRIEF_WAIT_MS = 1_000;

/**
 * Puts files that were read just now on record, durably. `CONFLICT` when others keep the ledger locked for `waitMs`. `isUrgent`: on a
 * full disk it takes the space that is kept aside, as damage must and a proof need not.
 */
export async function noteProofs(
  env: Environment,
  location: string,
  read: readonly ReadFile[],
  reading: Reading,
  { waitMs = LEDGER_WAIT_MS, isUrgent = true } = {},
): Promise<void> {
  await withProofReserve(env.fs, [location], isUrgent, () =>
    withLedgerLock(env, dirname(location), waitMs, async () => {
      const ledger = await readLedger(env.fs, location);
      merge(ledger, read, reading, env.clock.nowMs());
      await writeLedger(env, location, ledger);
    }),
  );
}

/**
 * Puts the proof of a whole snapshot on record. `entries` say which files carried an earlier proof. Damage is noted for all
 * snapshots that share the file.
 */
export async function noteSnapshot(
  env: Environment,
  location: string,
  entries: readonly Pick<ManifestEntry, 'path' | 'proven_at_ms'>[],
  proof: Pick<Proof, 'checks' | 'report'>,
  reading: Reading,
): Promise<void> {
  const { checks } = proof;
  const read: ReadFile[] = [];
  for (const { path, proven_at_ms: provenAtMs } of entries) {
    const check = checks.get(path);
    if (check !== undefined) read.push({ path, check, provenAtMs });
  }
  const isUrgent = isDamaged(proof.report);
  const proofs = noteProofs(env, location, read, reading, { waitMs: BRIEF_WAIT_MS, isUrgent });
  // Where its own ledger cannot be written, those of the others can.
  const [own] = await Promise.allSettled([proofs]);
  await noteDamage(env, dirname(location), proof);
  if (own.status === 'rejected') throw own.reason;
}

/** Files with an error lose their proof in the ledgers of all snapshots in `parent` that have these very files. */
export async function noteDamage(
  env: Environment,
  parent: string,
  { checks, report }: Pick<Proof, 'checks' | 'report'>,
): Promise<void> {
  const inodes = new Map<string, string>();
  for (const { path, severity } of report.findings) {
    const ino = checks.get(path)?.identity?.ino.toString();
    if (severity === 'error' && ino !== undefined) inodes.set(path, ino);
  }
  const locations = await locationsWithLedger(env.fs, parent);
  if (inodes.size === 0 || locations.length === 0) return;
  await condemnIn(env, parent, locations, report.level, (ledger) => sharedIn(ledger, inodes));
}

/**
 * Files of a snapshot that a restore found damaged lose their proof, there and in all snapshots that have these very files, so that
 * `latest-good` is none of them any more.
 */
export async function noteFailedRestore(
  env: Environment,
  location: string,
  paths: readonly string[],
  level: Level,
): Promise<void> {
  const parent = dirname(location);
  const inodes = new Map<string, string>();
  for (const path of paths) {
    const stat = await env.fs.inspect(placeOf(location, path)).catch(() => undefined);
    if (stat !== undefined) inodes.set(path, stat.ino.toString());
  }
  const locations = [...new Set([location, ...(await locationsWithLedger(env.fs, parent))])];
  await condemnIn(env, parent, locations, level, (ledger, one) =>
    one === location ? paths : sharedIn(ledger, inodes),
  );
}

const sharedIn = ({ proofs }: Ledger, inodes: ReadonlyMap<string, string>): string[] =>
  [...inodes].filter(([path, ino]) => proofs.get(path)?.ino === ino).map(([path]) => path);

/** Who may not look into one ledger notes it in the others all the same. Rejects with the first refusal then. */
async function condemnIn(
  env: Environment,
  parent: string,
  locations: readonly string[],
  level: Level,
  damagedIn: (ledger: Ledger, location: string) => readonly string[],
): Promise<void> {
  await withProofReserve(env.fs, locations, true, () =>
    withLedgerLock(env, parent, BRIEF_WAIT_MS, async () => {
      const refusals: unknown[] = [];
      for (const location of locations) {
        const ledger = await readLedger(env.fs, location).catch((error) => {
          refusals.push(error);
          return undefined;
        });
        if (ledger === undefined) continue;
        const paths = damagedIn(ledger, location);
        for (const path of paths) {
          condemn(ledger, path, level, env.clock.nowMs());
        }
        if (paths.length > 0) await writeLedger(env, location, ledger);
      }
      if (refusals.length > 0) throw refusals[0];
    }),
  );
}
