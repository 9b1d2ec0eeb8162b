import { join } from 'node:path';
import type { Environment } from '../environment.ts';
import { type ReusableSnapshot, readReusable } from '../ledger/proven-files.ts';
import { type LastSnapshot, readLastSnapshot } from '../store/last-snapshot.ts';
import { type Layout, newestName } from '../store/layout.ts';
import { latestName, listSnapshotFolders, snapshotNames } from '../store/list.ts';
import { readManifest } from '../store/manifest-file.ts';

export interface PreviousSnapshot {
  /** What `latest` names. */
  readonly name?: string;
  /** The highest that was ever given, as far as is known: another tool may have moved the marker, and a manifest may be damaged. */
  readonly sequence: number;
  readonly files?: ReusableSnapshot | undefined;
  /** The engine whose word the proofs of its files are. */
  readonly engine?: string;
  /** What is on record of the last snapshot, also where that is gone; undefined when nothing is. */
  readonly last: LastSnapshot | undefined;
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
  const last = await readLastSnapshot(fs, layout.backup);
  const sequence = Math.max(
    manifest?.snapshot?.sequence ?? 0,
    other?.snapshot?.sequence ?? 0,
    last?.sequence ?? (await highestSequence(env, layout)),
  );
  if (name === undefined || manifest?.snapshot === undefined)
    return { sequence, last, ...(name && { name }) };
  const { engine } = manifest.snapshot;
  return { name, sequence, last, engine, files: await readReusable(fs, join(layout.backup, name), manifest) };
}

async function highestSequence(env: Environment, layout: Layout): Promise<number> {
  const all = await listSnapshotFolders(env, layout);
  return all.reduce((highest, { sequence }) => Math.max(highest, sequence ?? 0), 0);
}
