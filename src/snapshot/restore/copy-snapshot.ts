import { join } from 'node:path';
import type { Engine, FileCheck } from '../../engine/engine.ts';
import { foldersOf } from '../../env/folder-tree.ts';
import { makeFolders } from '../../env/io.ts';
import type { RunControl } from '../../env/run-control.ts';
import { StillpointError } from '../../errors.ts';
import type { Summed } from '../../format/sums.ts';
import type { CloneChoice, Level } from '../../options/choices.ts';
import type { Environment } from '../environment.ts';
import type { SnapshotSource } from '../source/snapshot-source.ts';
import { placeOf } from '../store/layout.ts';
import type { ManifestEntry } from '../store/manifest.ts';
import { Pipeline } from '../tasks/pipeline.ts';
import { Reflinker } from '../tasks/reflinker.ts';
import type { SizedPath } from '../verify/check-files.ts';
import { copyStreams } from './copy-streams.ts';

export interface CopyRequest {
  readonly source: SnapshotSource;
  /** The new folder. */
  readonly into: string;
  readonly entries: readonly ManifestEntry[];
  readonly engine: Engine;
  readonly level: Level;
  /** Whether the copy is synced and read back; a disposable one is not. */
  readonly isLasting: boolean;
  /** Default `never`. Only files in a folder can be cloned. A clone is not read while it is made, only when it is read back. */
  readonly clone?: CloneChoice;
  readonly control: RunControl;
  /** Called with the entries that are copied byte by byte, before the first of them; may reject. */
  readonly beforeCopying?: (entries: readonly ManifestEntry[]) => Promise<void>;
}

export interface Copied {
  /** What reading the new files back showed, by path. */
  readonly checks: ReadonlyMap<string, FileCheck>;
  /** Bytes in copy-on-write clones. */
  readonly clonedBytes: number;
}

/**
 * Copies the files of a snapshot into a new folder and compares what was read with the manifest. Never links: the engine that
 * opens the copy may write into its files. Resolves to what reading the copy back showed, by path. Rejects with
 * `RESTORE_INTEGRITY_MISMATCH` at the first file that differs; no thread is at work in the folder then.
 */
export async function copySnapshot(env: Environment, request: CopyRequest): Promise<Copied> {
  const { source, into, entries, engine, level, isLasting, control } = request;
  const { fs } = env;
  await makeFolders(fs, into);
  const folders = foldersOf(entries.map(({ path }) => path));
  for (const folder of folders) await fs.makeFolder(placeOf(into, folder));
  const ofFiles = engine.forFiles?.(entries.map(({ path }) => path)) ?? engine;
  const pipeline = new Pipeline(env, { root: into, engine: ofFiles, level, live: false, control });
  try {
    let clonedBytes = 0;
    if (source.folder !== undefined) clonedBytes = await copyFolder(env, request, source.folder, pipeline);
    else {
      await request.beforeCopying?.(entries);
      await copyStreams(env, source, into, entries, control, (entry, sums) => {
        compare(source, entry, sums);
        if (isLasting) pipeline.finish([{ path: entry.path, sizeBytes: entry.size }]);
      });
    }
    const checks = await pipeline.result();
    // The first comparison may have had one checksum only. Reading back gives both.
    for (const entry of entries) {
      const check = checks.get(entry.path);
      if (check?.crc32 === entry.crc32) compare(source, entry, check);
    }
    if (isLasting) {
      for (const folder of folders.reverse()) await fs.syncFolder(placeOf(into, folder));
      await fs.syncFolder(into);
    }
    return { checks, clonedBytes };
  } finally {
    await pipeline.settled();
  }
}

/** Copies by worker threads, or clones; resolves to the bytes cloned. */
async function copyFolder(
  { fs }: Environment,
  { source, into, entries, isLasting, clone = 'never', control, beforeCopying }: CopyRequest,
  folder: string,
  pipeline: Pipeline,
): Promise<number> {
  const reflinker = new Reflinker(fs, clone);
  const cloned: SizedPath[] = [];
  const toCopy: ManifestEntry[] = [];
  for (const entry of entries) {
    control.checkCancelled();
    const { path, size: sizeBytes } = entry;
    if (await reflinker.clone(placeOf(folder, path), placeOf(into, path))) {
      control.addBytes(sizeBytes);
      cloned.push({ path, sizeBytes });
    } else toCopy.push(entry);
  }
  await beforeCopying?.(toCopy);
  if (isLasting) pipeline.finish(cloned);
  await pipeline.copy(
    toCopy,
    {
      bytesOf: ({ size }) => size,
      jobOf: ({ path }) => ({ source: { path: placeOf(folder, path) }, target: placeOf(into, path) }),
      done: (entry, sums) => compare(source, entry, sums),
    },
    { isFinished: isLasting, ...(!isLasting && { withCrc32c: true }) }, // a disposable copy is not read back
  );
  return cloned.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

function compare(
  { location, folder }: SnapshotSource,
  entry: ManifestEntry,
  { sizeBytes, crc32, crc32c }: Summed,
): void {
  const isSecond = crc32c === undefined || entry.crc32c === undefined || crc32c === entry.crc32c;
  if (sizeBytes === entry.size && crc32 === entry.crc32 && isSecond) return;
  const place = folder === undefined ? `${entry.path} of ${location}` : join(folder, entry.path);
  throw new StillpointError('RESTORE_INTEGRITY_MISMATCH', `${place} is not what its manifest says`, {
    path: folder === undefined ? entry.path : place,
  });
}
