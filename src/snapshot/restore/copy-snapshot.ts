import { join } from 'node:path';
import type { Engine, FileCheck } from '../../engine/engine.ts';
import type { Level } from '../../engine/report.ts';
import { foldersOf } from '../../env/folder-tree.ts';
import { makeFolders } from '../../env/io.ts';
import type { RunControl } from '../../env/worker-pool.ts';
import { StillpointError } from '../../errors.ts';
import type { Summed } from '../../format/sums.ts';
import type { Environment } from '../environment.ts';
import { placeOf } from '../store/layout.ts';
import type { ManifestEntry } from '../store/manifest.ts';
import type { CopyJob } from '../tasks/copy-files.ts';
import { Pipeline } from '../tasks/pipeline.ts';
import { type CloneChoice, Reflinker } from '../tasks/reflinker.ts';
import type { SizedPath } from '../verify/check-files.ts';

export interface CloneRequest {
  readonly from: string;
  /** The new folder. */
  readonly into: string;
  readonly entries: readonly ManifestEntry[];
  readonly engine: Engine;
  readonly level: Level;
  /** Whether the copy has to last: brought to disk and read back. A disposable one has not. */
  readonly isLasting: boolean;
  /** Default `never`. What is cloned is not read on the way: reading it back, or having read the source, has to do. */
  readonly clone?: CloneChoice;
  readonly control: RunControl;
  /** Called with what is left to be copied byte by byte, before the first of them; may reject. */
  readonly beforeCopying?: (entries: readonly ManifestEntry[]) => Promise<void>;
}

export interface Cloned {
  /** What reading the new files back showed, by path. */
  readonly checks: ReadonlyMap<string, FileCheck>;
  /** Of copy-on-write clones. */
  readonly clonedBytes: number;
}

/**
 * Copies the files of a snapshot into a new folder and holds what was read against the manifest on the way. Never links:
 * the engine that opens the copy may write into its files. Resolves to what reading the copy back showed, by path. Rejects
 * with `RESTORE_INTEGRITY_MISMATCH` at the first file that differs; no thread is at work in the folder then.
 */
export async function copySnapshot(
  env: Environment,
  { from, into, entries, engine, level, isLasting, clone = 'never', control, beforeCopying }: CloneRequest,
): Promise<Cloned> {
  const { fs } = env;
  await makeFolders(fs, into);
  const folders = foldersOf(entries.map(({ path }) => path));
  for (const folder of folders) await fs.makeFolder(placeOf(into, folder));
  const pipeline = new Pipeline(env, { root: into, engine, level, live: false, control });
  try {
    const jobs = entries.map((entry): CopyJob & { path: string; entry: ManifestEntry } => ({
      entry,
      path: entry.path,
      source: { path: placeOf(from, entry.path) },
      target: placeOf(into, entry.path),
    }));
    const compare = ({ entry, path }: (typeof jobs)[number], { sizeBytes, crc32, crc32c }: Summed) => {
      const isSecond = crc32c === undefined || entry.crc32c === undefined || crc32c === entry.crc32c;
      if (sizeBytes === entry.size && crc32 === entry.crc32 && isSecond) return;
      const place = join(from, path);
      throw new StillpointError('RESTORE_INTEGRITY_MISMATCH', `${place} is not what its manifest says`, {
        path: place,
      });
    };
    const cloner = new Reflinker(fs, clone);
    const cloned: SizedPath[] = [];
    const toCopy: typeof jobs = [];
    for (const job of jobs) {
      control.checkCancelled();
      const { path, source, target, entry } = job;
      if (!(await cloner.clone(source.path, target))) toCopy.push(job);
      else {
        control.addBytes(entry.size);
        cloned.push({ path, sizeBytes: entry.size });
      }
    }
    await beforeCopying?.(toCopy.map(({ entry }) => entry));
    if (isLasting) pipeline.finish(cloned);
    await pipeline.copy(toCopy, ({ entry }) => entry.size, compare, {
      isFinished: isLasting,
      ...(!isLasting && { withCrc32c: true }), // nobody reads it back
    });
    const checks = await pipeline.result();
    // Equal to its source, which was summed up once: what differs in the second checksum differed there.
    for (const job of toCopy) {
      const check = checks.get(job.path);
      if (check?.crc32 === job.entry.crc32) compare(job, check);
    }
    const done = { checks, clonedBytes: cloned.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) };
    if (!isLasting) return done;
    for (const folder of folders.reverse()) await fs.syncFolder(placeOf(into, folder));
    await fs.syncFolder(into);
    return done;
  } finally {
    await pipeline.settled();
  }
}
