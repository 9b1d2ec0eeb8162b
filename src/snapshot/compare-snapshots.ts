import { StillpointError } from '../errors.ts';
import type { Environment } from './environment.ts';
import { nameOf } from './store/layout.ts';
import type { ManifestEntry, ParsedManifest } from './store/manifest.ts';
import { readManifest } from './store/manifest-file.ts';

/** A file that one of two snapshots has, or that they have with different content. */
export interface ChangedFile {
  readonly path: string;
  readonly change: 'added' | 'removed' | 'changed';
  /** In the first and in the second snapshot; null where it has no such file. */
  readonly beforeBytes: number | null;
  readonly afterBytes: number | null;
}

export interface SnapshotDifference {
  /** Names and places. */
  readonly from: { readonly name: string; readonly location: string };
  readonly to: { readonly name: string; readonly location: string };
  readonly identical: boolean;
  /** By path. */
  readonly files: readonly ChangedFile[];
  readonly addedBytes: number;
  readonly removedBytes: number;
  readonly changedFiles: number;
  readonly unchangedFiles: number;
  readonly unchangedBytes: number;
}

/** What two snapshots have of each other, by what their manifests say: sizes and checksums. No file is read. */
export async function compareSnapshots(env: Environment, a: string, b: string): Promise<SnapshotDifference> {
  const [before, after] = [await manifestOf(env, a), await manifestOf(env, b)];
  const old = new Map(before.entries.map((entry) => [entry.path, entry]));
  const files: ChangedFile[] = [];
  let [addedBytes, removedBytes, unchangedFiles, unchangedBytes] = [0, 0, 0, 0];
  for (const entry of after.entries) {
    const { path, size } = entry;
    const known = old.get(path);
    old.delete(path);
    if (known !== undefined && hasSameSums(known, entry)) {
      unchangedFiles++;
      unchangedBytes += size;
      continue;
    }
    addedBytes += size;
    removedBytes += known?.size ?? 0;
    files.push({
      path,
      change: known === undefined ? 'added' : 'changed',
      beforeBytes: known?.size ?? null,
      afterBytes: size,
    });
  }
  for (const { path, size } of old.values() as Iterable<ManifestEntry>) {
    removedBytes += size;
    files.push({ path, change: 'removed', beforeBytes: size, afterBytes: null });
  }
  files.sort((x, y) => (x.path < y.path ? -1 : 1));
  return {
    from: { name: nameOf(a), location: a },
    to: { name: nameOf(b), location: b },
    identical: files.length === 0,
    files,
    addedBytes,
    removedBytes,
    changedFiles: files.length,
    unchangedFiles,
    unchangedBytes,
  };
}

/** Both sums: a file that ends with its own CRC-32, as blocks of `lsm` do, has the same one whatever it holds. */
const hasSameSums = (a: ManifestEntry, b: ManifestEntry): boolean =>
  a.size === b.size &&
  a.crc32 === b.crc32 &&
  (a.crc32c === undefined || b.crc32c === undefined || a.crc32c === b.crc32c);

async function manifestOf(env: Environment, location: string): Promise<ParsedManifest> {
  const manifest = await readManifest(env, location);
  if (manifest !== undefined) return manifest;
  throw new StillpointError('NOT_FOUND', `${location} is not a snapshot: it has no manifest`, {
    path: location,
  });
}
