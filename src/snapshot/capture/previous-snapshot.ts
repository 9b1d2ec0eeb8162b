import { join } from 'node:path';
import type { Environment } from '../environment.ts';
import { type ReusableSnapshot, readReusable } from '../ledger/proven-files.ts';
import { type Layout, newestName } from '../store/layout.ts';
import { latestName, snapshotNames } from '../store/list.ts';
import { readManifest } from '../store/manifest-file.ts';

export interface PreviousSnapshot {
  /** What `latest` names. */
  readonly name?: string;
  /** The highest of `latest` and of the newest by name: another tool may have moved the marker, or lost it. */
  readonly sequence: number;
  readonly files?: ReusableSnapshot | undefined;
  /** The engine whose word the proofs of its files are. */
  readonly engine?: string;
}

/** The snapshot that `latest` names. One that cannot be read is ignored: everything is copied then. */
export async function findPrevious(env: Environment, layout: Layout): Promise<PreviousSnapshot> {
  const { fs } = env;
  const read = (snapshot: string | undefined) =>
    snapshot === undefined
      ? undefined
      : readManifest(env, join(layout.backup, snapshot)).catch(() => undefined);
  const name = await latestName(fs, layout.backup);
  const newest = newestName(await snapshotNames(fs, layout.backup));
  const manifest = await read(name);
  const other = newest === name ? undefined : await read(newest);
  const sequence = Math.max(manifest?.snapshot?.sequence ?? 0, other?.snapshot?.sequence ?? 0);
  if (name === undefined || manifest?.snapshot === undefined) return { sequence, ...(name && { name }) };
  const { engine } = manifest.snapshot;
  return { name, sequence, engine, files: await readReusable(fs, join(layout.backup, name), manifest) };
}
