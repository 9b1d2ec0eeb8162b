import { dirname } from 'node:path';
import type { Engine, FileCheck } from '../../engine/engine.ts';
import type { Finding, Report } from '../../engine/report.ts';
import type { FileSystem } from '../../env/file-system.ts';
import type { FileProof } from '../ledger/ledger-file.ts';
import { readProofs } from '../ledger/proven-files.ts';
import { readLastSnapshot } from './last-snapshot.ts';
import { nameOf } from './layout.ts';

/** A database that is of an older state than its last snapshot, or was begun anew: what came before it lives in snapshots only. */

type Known = ReadonlyMap<string, Pick<FileCheck | FileProof, 'facts'>>;

/** How far the database had come; undefined where the proof of its files does not say. */
export const positionOf = ({ history }: Engine, checks: Known): unknown =>
  history?.positionOf(new Map([...checks].map(([path, { facts }]) => [path, facts])));

/** The same of a snapshot that was taken before. */
export async function positionIn(fs: FileSystem, engine: Engine, folder: string): Promise<unknown> {
  const known = positionOf(engine, await readProofs(fs, folder));
  if (known !== undefined) return known;
  const last = await readLastSnapshot(fs, dirname(folder)); // the ledger may be lost
  return last?.name === nameOf(folder) && last.engine === engine.name ? last.position : undefined;
}

export const withSetback = (report: Report, why: string, before: string): Report => {
  const finding: Finding = {
    path: '',
    offset: null,
    code: 'STATE_OLDER',
    severity: 'warning',
    message: `the database does not go on from ${before} (it is older, or was begun anew): ${why}`,
  };
  return { ...report, findings: [...report.findings, finding] };
};
