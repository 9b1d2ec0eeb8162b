import { join } from 'node:path';
import type { Engine } from '../../engine/engine.ts';
import { detectEngine, engineByName } from '../../engine/index.ts';
import { mapConcurrent } from '../../env/concurrency.ts';
import type { FileStat } from '../../env/file-system.ts';
import { makeFolders, removeIfPresent } from '../../env/io.ts';
import type { CloneChoice, Mode } from '../../options/choices.ts';
import { size } from '../../options/size.ts';
import type { Environment } from '../environment.ts';
import { type Layout, partialFolder } from '../store/layout.ts';
import { Reflinker } from '../tasks/reflinker.ts';
import { findPrevious } from './previous-snapshot.ts';
import { refuseShortage, spareBytes } from './space.ts';

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
  const previous = await findPrevious(env, layout);
  const engine =
    previous.engine === undefined
      ? await detectEngine(env.fs, layout.dataDir)
      : engineByName(previous.engine);
  if (engine === undefined) return undefined;
  const files = await lookAtFiles(env, layout, engine);
  const isShared = (path: string, { ino, mtimeNs, sizeBytes }: FileStat): boolean => {
    const proven = previous.files?.files.get(path);
    return (
      proven?.size === sizeBytes &&
      proven.source?.ino === ino.toString() &&
      proven.source.mtime_ns === mtimeNs.toString()
    );
  };
  const needed = files.filter(({ path, stat }) => !isShared(path, stat));
  return { databaseBytes: allocatedBytes(files), neededBytes: allocatedBytes(needed) };
}

interface SizedFile {
  readonly path: string;
  readonly stat: FileStat;
}

async function lookAtFiles({ fs }: Environment, { dataDir }: Layout, engine: Engine): Promise<SizedFile[]> {
  const paths = await engine.listFiles(fs, dataDir);
  const stats = await mapConcurrent(paths, LOOKS_AT_ONCE, (path) => fs.inspect(join(dataDir, path)));
  return paths.flatMap((path, i) => {
    const stat = stats[i];
    return stat === undefined ? [] : [{ path, stat }]; // it went meanwhile
  });
}

const allocatedBytes = (files: readonly SizedFile[]): number =>
  files.reduce((sum, { stat }) => sum + stat.allocatedBytes, 0);

/**
 * `NO_SPACE` before a database is asked for a checkpoint, which writes too, when not even what its engine knows to be captured fits: no file
 * that the last snapshot may share, and none that can be cloned. What any other engine needs is looked at once its plan is made.
 */
export async function refuseFullDisk(
  env: Environment,
  layout: Layout,
  engine: Engine,
  { mode, clone, reuse }: { readonly mode: Mode; readonly clone: CloneChoice; readonly reuse: boolean },
): Promise<void> {
  const { isSurelyCaptured } = engine;
  if (mode === 'link' || isSurelyCaptured === undefined) return;
  const { fs } = env;
  const { dataDir, backup, lifecycle } = layout;
  const files = (await lookAtFiles(env, layout, engine)).filter(({ path }) => isSurelyCaptured(path));
  const most = allocatedBytes(files);
  if (most + spareBytes(most) <= (await fs.freeBytes(lifecycle))) return;
  const proven = reuse ? (await findPrevious(env, layout)).files?.files : undefined;
  const copied = files.filter(({ path, stat }) => proven?.get(path)?.size !== stat.sizeBytes);
  const [first] = copied;
  if (first === undefined) return;
  if (clone === 'auto' && (await canClone(env, join(dataDir, first.path), backup))) return;
  const needed = allocatedBytes(copied);
  const needs = `at least ${size(needed)}`;
  await refuseShortage(fs, { needed, dir: dataDir, on: lifecycle, place: backup, needs });
}

/** Tries it, with a name that is removed also after a crash. */
async function canClone({ fs, newId }: Environment, from: string, folder: string): Promise<boolean> {
  const to = partialFolder(folder, newId());
  try {
    await makeFolders(fs, folder);
    return await new Reflinker(fs, 'auto').clone(from, to);
  } finally {
    await removeIfPresent(fs, to);
  }
}
