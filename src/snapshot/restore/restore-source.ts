import type { Engine } from '../../engine/engine.ts';
import { detectEngine, engineByName } from '../../engine/index.ts';
import { Parts } from '../../engine/parts/find-parts.ts';
import { orAborted } from '../../env/concurrency.ts';
import type { RunControl } from '../../env/run-control.ts';
import { warn } from '../../env/safe-calls.ts';
import { type ErrorDetail, StillpointError } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { openFolderSource } from '../source/folder-source.ts';
import { checkForeignSource } from '../source/foreign-source.ts';
import type { SnapshotSource } from '../source/snapshot-source.ts';
import { findSnapshot } from '../store/find-snapshot.ts';
import type { Layout } from '../store/layout.ts';
import { checkPaths, type ParsedManifest } from '../store/manifest.ts';
import { compareTree } from '../verify/compare-tree.ts';
import { describeFindings } from '../verify/describe-findings.ts';
import { REWRITTEN } from '../verify/prove.ts';

/** `latest`, a name, an id or a path; or a function that opens a snapshot which lies elsewhere. */
export type SourceChoice = string | (() => Promise<SnapshotSource>);

/** Opens what a user chose; a path must lie in one of the folders `allowed`. Errors: those of `findSnapshot` and `openSnapshotFolder`; `HOOK_INVALID`. */
export async function openChosen(
  env: Environment,
  layout: Layout,
  choice: SourceChoice,
  allowed: readonly string[],
): Promise<SnapshotSource> {
  if (typeof choice === 'function') return checkForeignSource(await choice(), releaseSource);
  return openSnapshotFolder(env, await findSnapshot(env, layout, choice, allowed));
}

/** A snapshot that may be restored from. It stays as it is until `release`: nobody can prune it meanwhile. */
export interface RestoreSource {
  readonly location: string;
  readonly files: SnapshotSource;
  readonly manifest: ParsedManifest;
  readonly engine: Engine;
  readonly bytes: number;
  /** Never rejects. */
  release(): Promise<void>;
}

/** Opens a snapshot in a folder. `RESTORE_INTEGRITY_MISMATCH` when there is none, `CONFLICT` when it is being deleted. */
export async function openSnapshotFolder(env: Environment, location: string): Promise<SnapshotSource> {
  const source = await openFolderSource(env, location);
  if (source !== undefined) return source;
  throw mismatch(location, 'it has no manifest, so it is not a snapshot', {
    hint: 'Name a snapshot: a folder with a snapshot.manifest.',
  });
}

/**
 * Takes over a source for restoring and reads its manifest; names and sizes in a folder are compared with it. Changes nothing.
 * Rejects with `RESTORE_INTEGRITY_MISMATCH` when the snapshot is damaged, empty or none at all, with `ENGINE_MISMATCH`
 * when another engine wrote it, and with `CANCELLED` at once, also when the source does not answer; the source is released then.
 */
export async function checkSource(
  env: Environment,
  source: SnapshotSource,
  control: RunControl,
  wanted?: Engine,
): Promise<RestoreSource> {
  const { location, folder } = source;
  try {
    const manifest = await readTrusted(source, control);
    if (folder !== undefined) {
      const { findings } = await compareTree(env.fs, folder, manifest.entries, control);
      if (findings.length > 0) throw mismatch(location, describeFindings(findings));
    }
    const engine = await engineOf(env, source, manifest);
    if (wanted !== undefined && !canReplace(engine, wanted, manifest)) {
      throw new StillpointError(
        'ENGINE_MISMATCH',
        `${location} was written by ${engine.name}, not by ${wanted.name}`,
        {
          path: location,
          hint: 'Restore it into a new folder with `--into DIR`, and look there; or name a snapshot of this engine, such as `latest-good`.',
        },
      );
    }
    const bytes = manifest.entries.reduce((sum, { size }) => sum + size, 0);
    return { location, files: source, manifest, engine, bytes, release: () => releaseSource(source) };
  } catch (error) {
    await releaseSource(source);
    throw error;
  }
}

/** Whether a snapshot can take the place of a data directory of the engine `wanted`. One of a folder with parts can where its root is one. */
function canReplace(engine: Engine, wanted: Engine, { entries }: ParsedManifest): boolean {
  if (engine.name === wanted.name || wanted.name === 'files') return true;
  if (engine.forFiles === undefined) return false;
  const parts = new Parts(entries.map(({ path }) => path)).list;
  return parts.some(({ dir, engine }) => dir === '' && engine === wanted.name);
}

const RELEASE_LIMIT_MS = 10_000;

/**
 * Ends what a source holds. A source that fails to, or takes longer than `limitMs`, causes a warning: what was done with it
 * does not depend on it.
 */
export async function releaseSource(
  source: Pick<SnapshotSource, 'location' | 'release'>,
  limitMs = RELEASE_LIMIT_MS,
): Promise<void> {
  const released = Promise.resolve().then(() => source.release());
  const limit = AbortSignal.timeout(limitMs);
  await orAborted(released, limit).catch((cause) => {
    const why = limit.aborted ? `took longer than ${limitMs} ms` : 'failed';
    warn(new StillpointError('HOOK_FAILED', `the release of ${source.location} ${why}`, { cause }));
  });
}

async function readTrusted(source: SnapshotSource, control: RunControl): Promise<ParsedManifest> {
  const { location } = source;
  const refuse = (error: unknown): never => {
    throw error instanceof StillpointError && error.code === 'MANIFEST_INVALID'
      ? mismatch(location, error.message, { cause: error })
      : error;
  };
  const manifest = await orAborted(source.manifest(), control.signal).catch(refuse);
  if (manifest.entries.length === 0) throw mismatch(location, 'its manifest names no file');
  if (manifest.rewritten) throw mismatch(location, REWRITTEN);
  // Checked again: a source of somebody else's making may have come by its manifest in another way.
  checkPaths(manifest.entries, (message) => mismatch(location, message));
  return manifest;
}

async function engineOf(
  env: Environment,
  { location, folder, engine: name }: SnapshotSource,
  manifest: ParsedManifest,
): Promise<Engine> {
  const known = manifest.snapshot?.engine ?? name;
  if (known !== undefined) return engineByName(known);
  const engine = folder === undefined ? undefined : await detectEngine(env.fs, folder);
  if (engine === undefined) throw mismatch(location, 'no known engine wrote what is in it');
  return engine;
}

export function mismatch(location: string, message: string, detail: ErrorDetail = {}): StillpointError {
  return new StillpointError('RESTORE_INTEGRITY_MISMATCH', `${location} cannot be restored: ${message}`, {
    path: location,
    ...detail,
  });
}
