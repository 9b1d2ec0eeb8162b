import type { Engine, FileCheck } from '../../engine/engine.ts';
import type { Finding, Report } from '../../engine/report.ts';
import type { FileSystem } from '../../env/file-system.ts';
import type { FileProof } from '../ledger/ledger-file.ts';
import { readProofs } from '../ledger/proven-files.ts';

/** A database that is of an older state than its last snapshot, or was begun anew: what came before it lives in snapshots only. */

type Known = ReadonlyMap<string, Pick<FileCheck | FileProof, 'facts'>>;

const factsOf = (known: Known): ReadonlyMap<string, unknown> =>
  new Map([...known].map(([path, { facts }]) => [path, facts]));

/** How far the database of a proven snapshot had come; undefined where its files do not say. */
export const positionIn = async (fs: FileSystem, { history }: Engine, folder: string): Promise<unknown> =>
  history?.positionOf(factsOf(await readProofs(fs, folder)));

/** Why the state that was just proven cannot follow the one in the snapshot `before`. */
export async function setbackSince(
  fs: FileSystem,
  engine: Engine,
  checks: Known,
  before: string,
): Promise<string | undefined> {
  const { history } = engine;
  const now = history?.positionOf(factsOf(checks));
  const past = now === undefined ? undefined : await positionIn(fs, engine, before);
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
