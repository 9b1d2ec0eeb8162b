import type { Engine, FileCheck } from '../../engine/engine.ts';
import { engineByName } from '../../engine/index.ts';
import type { Finding, Report } from '../../engine/report.ts';
import type { FileSystem } from '../../env/file-system.ts';
import type { FileProof } from '../ledger/ledger-file.ts';
import { readProofs } from '../ledger/proven-files.ts';

/** A database that is of an older state than its last snapshot, or was begun anew: what came before it lives in snapshots only. */

type Known = ReadonlyMap<string, Pick<FileCheck | FileProof, 'facts'>>;

const factsOf = (known: Known): ReadonlyMap<string, unknown> =>
  new Map([...known].map(([path, { facts }]) => [path, facts]));

/** How far the database had come, by the proofs of a snapshot's files. */
export function positionOf(engine: string | null, proofs: Known): unknown {
  return engine === null ? undefined : registered(engine)?.history?.positionOf(factsOf(proofs));
}

function registered(name: string): Engine | undefined {
  try {
    return engineByName(name);
  } catch {
    return undefined; // an engine that nobody registered here
  }
}

/** Why the state that was just proven cannot follow the one in the snapshot `before`. */
export async function setbackSince(
  fs: FileSystem,
  { history }: Engine,
  checks: Known,
  before: string,
): Promise<string | undefined> {
  const now = history?.positionOf(factsOf(checks));
  const past = now === undefined ? undefined : history!.positionOf(factsOf(await readProofs(fs, before)));
  return past === undefined ? undefined : history!.setbackOf(now, past);
}

export const withSetback = (report: Report, why: string, before: string): Report => {
  const finding: Finding = {
    path: '',
    offset: null,
    code: 'STATE_OLDER',
    severity: 'warning',
    message: `the database is older than ${before}, or was begun anew: ${why}`,
  };
  return { ...report, findings: [...report.findings, finding] };
};

/** What is needed of a snapshot to say whether another can follow it. */
export interface Positioned {
  readonly snapshot: { readonly engine: string | null };
  readonly position: unknown;
}

/**
 * The newest of these, oldest first, that none of the later ones can follow: it holds writes that they have not. Undefined when there is
 * none, or nobody knows.
 */
export function newestBeforeSetback<T extends Positioned>(known: readonly T[]): T | undefined {
  return known.findLast(({ snapshot: { engine }, position }, index) => {
    const history = engine === null ? undefined : registered(engine)?.history;
    const later = known.slice(index + 1).filter(({ snapshot }) => snapshot.engine === engine);
    if (history === undefined || position === undefined || later.length === 0) return false;
    return later.every((one) => one.position !== undefined && history.setbackOf(one.position, position));
  });
}
