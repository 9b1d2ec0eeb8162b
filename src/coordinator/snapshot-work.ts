import { dirname, resolve } from 'node:path';
import { detectEngine, engineByName } from '../engine/index.ts';
import { isDamaged, type Report } from '../engine/report.ts';
import type { FileSystem } from '../env/file-system.ts';
import { StillpointError } from '../errors.ts';
import { onUpkeepRecord, type UpkeepOutcome } from '../operation/upkeep.ts';
import { OptionSet, type OptionsOf, type ResolvedOf } from '../options/option.ts';
import { restoreIntoOptions } from '../options/restore.ts';
import { level } from '../options/snapshot.ts';
import { hostThrottleOptions } from '../options/throttle.ts';
import { verifyAllOptions as verifyAllFields } from '../options/verify.ts';
import type { Environment } from '../snapshot/environment.ts';
import { readLedgerIfAllowed } from '../snapshot/ledger/ledger-file.ts';
import { noteSnapshot } from '../snapshot/ledger/write-proofs.ts';
import { restoreInto } from '../snapshot/restore/restore.ts';
import { checkSource, openSnapshotFolder } from '../snapshot/restore/restore-source.ts';
import { selectFiles } from '../snapshot/restore/select-files.ts';
import { lockForReading } from '../snapshot/source/folder-source.ts';
import { keptLayout } from '../snapshot/store/home.ts';
import { isSnapshotPlace, type Layout, layoutAround } from '../snapshot/store/layout.ts';
import { snapshotsFolder } from '../snapshot/store/list.ts';
import { realFolder } from '../snapshot/store/real-folder.ts';
import { describeFindings } from '../snapshot/verify/describe-findings.ts';
import { prove } from '../snapshot/verify/prove.ts';
import { notOnRecord, type VerifyAllResult, verifySnapshots } from '../snapshot/verify/verify-all.ts';
import { engineNameOption } from './choose-engine.ts';
import { watched, watchFields } from './long-call.ts';

/** What is done with a folder, however it was named. */

/** Finds the folder once the work has begun. */
type Locate = (env: Environment) => Promise<string>;

export const verifyOptions = new OptionSet(() => ({
  level: level(),
  engine: engineNameOption('what the manifest says, otherwise what the files look like'),
  ...hostThrottleOptions.fields,
  ...watchFields(),
}));
export type VerifyOptions = OptionsOf<typeof verifyOptions>;

export function verifyFolder(
  system: Environment,
  locate: Locate,
  options: ResolvedOf<typeof verifyOptions>,
): Promise<Report> {
  const engine = options.engine === 'auto' ? undefined : engineByName(options.engine);
  return watched(system, options, async (env, control, watch) => {
    const folder = await locate(env);
    const layout = isSnapshotPlace(folder) ? layoutAround(dirname(folder)) : undefined;
    const database = layout === undefined ? await layoutOfDatabase(env.fs, folder) : undefined;
    const own = database && (await engineOf(env.fs, folder));
    const record =
      database === undefined
        ? ({ layout, location: folder, outcomeOf: outcomeOfOne } as const)
        : { layout: database, location: database.dataDir, outcomeOf: outcomeOfDatabase(own), unrecorded };
    return onUpkeepRecord(env, { kind: 'verify', control, ...record }, async () => {
      const lock = await lockForReading(env, folder);
      const before = layout && (await readLedgerIfAllowed(env.fs, folder));
      try {
        const proof = await prove(env, folder, {
          control,
          level: options.level,
          readsOn: true,
          ...(engine && { engine }),
          onPlanned: (_files, bytesTotal) => watch(bytesTotal),
        });
        const { report, manifest } = proof;
        if (manifest !== undefined && layout !== undefined) {
          const read = manifest.entries.map((entry) => ({ path: entry.path }));
          const note = noteSnapshot(env, folder, read, proof, { level: report.level, before });
          // The report was asked for, not the note; but damage that is not on record is forgotten.
          const missing = await note.then(
            () => [],
            (error) => [notOnRecord(error)],
          );
          if (isDamaged(report)) return { ...report, findings: [...report.findings, ...missing] };
        }
        return report;
      } finally {
        await lock?.release();
      }
    });
  });
}

/** Undefined where that could not be looked at. */
const engineOf = (fs: FileSystem, folder: string): Promise<string | undefined> =>
  detectEngine(fs, folder).then(
    (engine) => engine?.name ?? 'files',
    () => undefined,
  );

/** Undefined where no snapshot of it was ever taken: verifying makes no folder. */
async function layoutOfDatabase(fs: FileSystem, folder: string): Promise<Layout | undefined> {
  const layout = await realFolder(fs, folder)
    .then((dataDir) => keptLayout(fs, dataDir))
    .catch(() => undefined); // what is wrong with the folder itself, reading it tells
  return layout && (await fs.inspect(layout.backup)) ? layout : undefined;
}

/** Damage that is not on record is forgotten. */
const unrecorded = (report: Report, error: unknown): Report =>
  isDamaged(report) ? { ...report, findings: [...report.findings, notOnRecord(error)] } : report;

const outcomeOfOne = (report: Report): UpkeepOutcome => outcomeOf(1, isDamaged(report) ? [report] : []);

/** A look that did not see all, or with the eyes of another engine, says nothing, unless it found damage. */
const outcomeOfDatabase =
  (own: string | undefined) =>
  (report: Report): UpkeepOutcome | undefined => {
    const sawAll = report.ok && report.level === 'full' && report.engine === own;
    if (!isDamaged(report) && !sawAll) return undefined;
    const { upkeep, failure } = outcomeOfOne(report);
    return { upkeep, failure: failure && new StillpointError('SOURCE_DAMAGED', failure.message) };
  };

const outcomeOfAll = ({ snapshots }: VerifyAllResult): UpkeepOutcome =>
  outcomeOf(snapshots.length, snapshots.map(({ report }) => report).filter(isDamaged));

function outcomeOf(folders: number, damaged: readonly Report[]): UpkeepOutcome {
  const upkeep = { folders, removed: 0, freedBytes: 0 };
  const [first] = damaged;
  if (first === undefined) return { upkeep };
  const code = first.verdict === 'source-damaged' ? 'SOURCE_DAMAGED' : 'COPY_DAMAGED';
  const found = describeFindings(first.findings.filter(({ severity }) => severity === 'error'));
  const which =
    folders === 1
      ? ''
      : `${damaged.length} of ${folders} snapshots ${damaged.length === 1 ? 'is' : 'are'} damaged: `;
  return { upkeep, failure: new StillpointError(code, `${which}${found}`) };
}

export const verifyAllOptions = new OptionSet(() => ({ ...verifyAllFields.fields, ...watchFields() }));
export type VerifyAllOptions = OptionsOf<typeof verifyAllOptions>;

export function verifyFolders(
  system: Environment,
  dir: string,
  options: ResolvedOf<typeof verifyAllOptions>,
): Promise<VerifyAllResult> {
  const { level, olderThanMs, maxBytes = Number.POSITIVE_INFINITY } = options;
  return watched(system, options, async (env, control, onPlanned) => {
    const parent = await snapshotsFolder(env.fs, await realFolder(env.fs, dir));
    const layout = layoutAround(parent);
    const record = { kind: 'verify', layout, location: parent, control, outcomeOf: outcomeOfAll } as const;
    return onUpkeepRecord(env, record, () =>
      verifySnapshots(env, { parent, level, maxBytes, olderThanMs, control, onPlanned }),
    );
  });
}

export const restoreOptions = new OptionSet(() => ({ ...restoreIntoOptions.fields, ...watchFields() }));
export type RestoreIntoOptions = OptionsOf<typeof restoreOptions>;

export interface RestoreIntoResult {
  readonly from: string;
  readonly into: string;
  readonly files: number;
  readonly bytes: number;
  readonly clonedBytes: number;
  readonly undo: null;
  readonly report: Report;
}

export function restoreFolder(
  system: Environment,
  locate: Locate,
  options: ResolvedOf<typeof restoreOptions>,
): Promise<RestoreIntoResult> {
  const { into } = options;
  return watched(system, options, async (env, control, watch) => {
    const whole = await checkSource(env, await openSnapshotFolder(env, await locate(env)), control);
    try {
      const source = selectFiles(whole, options.files);
      watch(2 * source.bytes); // read once for the copy and once for its proof
      const { report, clonedBytes } = await restoreInto(env, source, into, options, control);
      const { location: from, manifest, bytes } = source;
      const files = manifest.entries.length;
      return { from, into: resolve(into), files, bytes, clonedBytes, undo: null, report };
    } finally {
      await whole.release();
    }
  });
}
