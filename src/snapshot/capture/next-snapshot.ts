import { join } from 'node:path';
import { detectEngine, engineByName } from '../../engine/index.ts';
import { mapConcurrent } from '../../env/concurrency.ts';
import type { FileStat } from '../../env/file-system.ts';
import type { Environment } from '../environment.ts';
import type { Layout } from '../store/layout.ts';
import { findPrevious } from './previous-snapshot.ts';

/** A data directory as the next snapshot will find it. */
export interface NextSnapshot {
  /** What the files of the database take on the disk. */
  readonly databaseBytes: number;
  /** What the next snapshot in full takes at most: the files that the last one has a proven copy of are shared with it. */
  readonly neededBytes: number;
}

/** A look mostly waits for the disk. */
const LOOKS_AT_ONCE = 8;

/** Undefined where no database is found. Looks at names and sizes; reads no data. */
export async function sizeUpNext(env: Environment, layout: Layout): Promise<NextSnapshot | undefined> {
  const { fs } = env;
  const previous = await findPrevious(env, layout);
  const engine =
    previous.engine === undefined ? await detectEngine(fs, layout.dataDir) : engineByName(previous.engine);
  if (engine === undefined) return undefined;
  const paths = await engine.listFiles(fs, layout.dataDir);
  const stats = await mapConcurrent(paths, LOOKS_AT_ONCE, (path) => fs.inspect(join(layout.dataDir, path)));
  const isShared = (path: string, { ino, mtimeNs, sizeBytes }: FileStat): boolean => {
    const proven = previous.files?.files.get(path);
    return (
      proven?.size === sizeBytes &&
      proven.source?.ino === ino.toString() &&
      proven.source.mtime_ns === mtimeNs.toString()
    );
  };
  let databaseBytes = 0;
  let neededBytes = 0;
  for (const [i, path] of paths.entries()) {
    const stat = stats[i];
    if (stat === undefined) continue; // it went meanwhile
    databaseBytes += stat.allocatedBytes;
    if (!isShared(path, stat)) neededBytes += stat.allocatedBytes;
  }
  return { databaseBytes, neededBytes };
}
