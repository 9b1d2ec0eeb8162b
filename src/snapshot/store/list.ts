import { basename, dirname, join } from 'node:path';
import { detectEngine } from '../../engine/index.ts';
import { mapConcurrent } from '../../env/concurrency.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { listIfPresent, readSmallFile } from '../../env/io.ts';
import { isRefusal, StillpointError, toStillpointError } from '../../errors.ts';
import { shellWord } from '../../options/shell-word.ts';
import type { Environment } from '../environment.ts';
import { keptLayout } from './home.ts';
import type { SnapshotSummary } from './known-snapshot.ts';
import { compareNames, isSnapshotName, LATEST, type Layout, nameOf } from './layout.ts';
import type { ParsedManifest } from './manifest.ts';
import { readManifest } from './manifest-file.ts';
import { realFolder } from './real-folder.ts';

/** A look at a manifest mostly waits for the disk. */
const READS_AT_ONCE = 8;

/** The published snapshots of a data directory, oldest first. */
export async function listSnapshotFolders(env: Environment, layout: Layout): Promise<SnapshotSummary[]> {
  const locations = await snapshotLocations(env.fs, layout);
  return mapConcurrent(locations, READS_AT_ONCE, (location) => summarize(env, location));
}

/** Oldest first, by their names. */
export async function snapshotLocations(fs: FileSystem, { backup }: Layout): Promise<string[]> {
  const names = await snapshotNames(fs, backup);
  return names.sort(compareNames).map((name) => join(backup, name));
}

export async function snapshotNames(fs: FileSystem, parent: string): Promise<string[]> {
  const entries = await listIfPresent(fs, parent);
  return entries
    .filter(({ name, kind }) => kind === 'folder' && isSnapshotName(name))
    .map(({ name }) => name);
}

/**
 * The folder with the snapshots: in the lifecycle folder of a data directory, or `dir` itself. `NOT_FOUND` when neither has any.
 */
export async function snapshotsFolder(fs: FileSystem, dir: string): Promise<string> {
  const { backup } = await keptLayout(fs, await realFolder(fs, dir, 'folder'));
  for (const parent of [backup, dir]) {
    if ((await snapshotNames(fs, parent)).length > 0) return parent;
  }
  throw noneYet(dir);
}

export const summarize = async (env: Environment, location: string): Promise<SnapshotSummary> =>
  (await readSummary(env, location)).summary;

/** A summary, and what it was made from. */
export interface ReadSummary {
  readonly summary: SnapshotSummary;
  /** Undefined where there is none that can be trusted. */
  readonly manifest: ParsedManifest | undefined;
  /** The error where the system would not let this process look. */
  readonly refusal: unknown;
}

export async function readSummary(
  env: Pick<Environment, 'fs' | 'pool'>,
  location: string,
): Promise<ReadSummary> {
  const name = nameOf(location);
  // The manifest of another tool has no time; the name has.
  const fromName = (isSnapshotName(name) ? Number(name.slice(3).split('-')[0]) : 0) * 1000;
  const unknown = {
    id: null,
    sequence: null,
    createdAtMs: fromName,
    engine: null,
    mode: null,
    entries: null,
    totalBytes: null,
  };
  try {
    const manifest = await readManifest(env, location);
    if (manifest === undefined) {
      const summary = { name, location, ...unknown, problem: 'there is no manifest' };
      return { summary, manifest, refusal: undefined };
    }
    const { entries, snapshot } = manifest;
    const summary = {
      name,
      location,
      id: snapshot?.id ?? null,
      sequence: snapshot?.sequence ?? null,
      createdAtMs: snapshot?.created_at_ms ?? fromName,
      engine: snapshot?.engine ?? (await detectEngine(env.fs, location))?.name ?? null,
      mode: snapshot?.mode ?? null,
      entries: entries.length,
      totalBytes: entries.reduce((sum, { size }) => sum + size, 0),
      problem: null,
    };
    return { summary, manifest, refusal: undefined };
  } catch (error) {
    // One that cannot be looked at hides none of the others.
    if (!(error instanceof StillpointError) && !isRefusal(error)) throw error;
    const summary = { name, location, ...unknown, problem: toStillpointError(error).message };
    return { summary, manifest: undefined, refusal: isRefusal(error) ? error : undefined };
  }
}

const MARKER_LIMIT_BYTES = 64 * 1024;

/**
 * The name in the latest marker, undefined when there is none. Another tool may have written a path, absolute or relative: only its
 * last component counts, and only if that is a snapshot in `parent`.
 */
export async function latestName(fs: FileSystem, parent: string): Promise<string | undefined> {
  const bytes = await readMarker(fs, join(parent, LATEST));
  const name = basename((bytes?.toString('utf8') ?? '').trim().replaceAll('\\', '/'));
  if (!isSnapshotName(name)) return undefined;
  return (await fs.inspect(join(parent, name)))?.kind === 'folder' ? name : undefined;
}

/** A link, folder, FIFO or huge file in the marker's place names nothing. A system error is an error. */
async function readMarker(fs: FileSystem, path: string): Promise<Buffer | undefined> {
  try {
    return await readSmallFile(fs, path, MARKER_LIMIT_BYTES);
  } catch (error) {
    if (error instanceof StillpointError) return undefined;
    throw error;
  }
}

export const noneYet = (dataDir: string): StillpointError =>
  new StillpointError('NOT_FOUND', `there is no snapshot of ${dataDir} yet`, {
    path: dataDir,
    hint: `Take one first: \`stillpoint snapshot ${shellWord(dataDir)}\`.`,
  });

/** The data directory that a snapshot belongs to, by its place; undefined when it lies elsewhere. */
export function dataDirOf(location: string): string | undefined {
  const backup = dirname(location);
  const lifecycle = dirname(backup);
  return basename(backup) === 'backup' && basename(lifecycle) === '.lifecycle'
    ? dirname(lifecycle)
    : undefined;
}
