import { inBatches, mapConcurrent } from '../env/concurrency.ts';
import type { FileIdentity } from '../env/file-system.ts';
import type { RunControl } from '../env/run-control.ts';
import { StillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import { placeOf } from '../snapshot/store/layout.ts';
import type { ManifestEntry } from '../snapshot/store/manifest.ts';
import type { Digest } from '../snapshot/tasks/digest-files.ts';
import { costBytesOf, type SizedPath } from '../snapshot/verify/check-files.ts';

/** Digests of earlier backups, so that a file is hashed once in its life. */
export interface KnownDigests {
  /** Of this very file with these checksums; undefined when it has to be read. */
  find(entry: ManifestEntry, identity: FileIdentity): Digest | undefined;
  /** Called once with the digests of all files of the snapshot, before anything is uploaded. */
  keep(digests: readonly DigestedFile[]): Promise<void>;
}

export interface DigestedFile {
  readonly entry: ManifestEntry;
  readonly identity: FileIdentity;
  readonly digest: Digest;
}

/**
 * What each file of a snapshot holds, in the order of `entries`. Files are read in worker threads, and held against the manifest:
 * `COPY_DAMAGED` when one is no longer what was proven, `SOURCE_UNAVAILABLE` when one is gone.
 */
export async function digestSnapshot(
  env: Environment,
  folder: string,
  entries: readonly ManifestEntry[],
  known: KnownDigests,
  control: RunControl,
): Promise<DigestedFile[]> {
  const digested = new Map<ManifestEntry, DigestedFile>();
  const unknown: { entry: ManifestEntry; identity: FileIdentity; size: SizedPath }[] = [];
  for (const entry of entries) {
    control.checkCancelled();
    const path = placeOf(folder, entry.path);
    const stat = await env.fs.inspect(path);
    if (stat?.kind !== 'file') throw new StillpointError('SOURCE_UNAVAILABLE', `${path} is gone`, { path });
    const { ino, mtimeNs, sizeBytes, allocatedBytes } = stat;
    const identity = { ino, mtimeNs };
    const digest = sizeBytes === entry.size ? known.find(entry, identity) : undefined;
    if (digest !== undefined) digested.set(entry, { entry, identity, digest });
    else unknown.push({ entry, identity, size: { path: entry.path, sizeBytes, allocatedBytes } });
  }
  const batches = inBatches(unknown, ({ entry }) => entry.size);
  await mapConcurrent(batches, env.pool.concurrency, async (batch) => {
    const jobs = batch.map(({ entry }) => ({
      path: placeOf(folder, entry.path),
      withCrc32c: entry.crc32c !== undefined,
    }));
    const costBytes = costBytesOf(batch.map(({ size }) => size));
    const digests = await env.pool.run('digestFiles', jobs, control, costBytes);
    for (const [i, { entry, identity }] of batch.entries()) {
      const digest = digests[i]!;
      if (digest.sizeBytes !== entry.size || digest.crc32 !== entry.crc32 || digest.crc32c !== entry.crc32c)
        throw changed(jobs[i]!.path);
      digested.set(entry, { entry, identity, digest });
    }
  });
  return entries.map((entry) => digested.get(entry)!);
}

export const changed = (path: string): StillpointError =>
  new StillpointError('COPY_DAMAGED', `${path} is no longer what was proven`, { path });
