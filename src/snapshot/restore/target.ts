import { dirname, sep } from 'node:path';
import { LIFECYCLE } from '../../engine/engine.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { realPlace } from '../../env/io.ts';
import { StillpointError, systemCode } from '../../errors.ts';
import { ownerOf } from '../store/layout.ts';
import { isMountPoint } from './check-exchange.ts';

/** Where a new folder is to stand. */
export interface Target {
  readonly folder: string;
  /** It is an empty mount, which no other folder can replace. */
  readonly isMount: boolean;
}

/** A folder that the new one must not lie in. */
export interface Outside {
  readonly folder: string;
  /** Completes "it lies in …". */
  readonly what: string;
  readonly hint: string;
}

/** `TARGET_NOT_EMPTY` unless `into` is absent or empty; `INVALID_REQUEST` in a lifecycle folder, and in `outside`. Changes nothing. */
export async function checkTarget(
  fs: FileSystem,
  into: string,
  outside: Outside | undefined,
): Promise<Target> {
  const folder = await realPlace(fs, into);
  const there = await fs.inspect(folder);
  if (there !== undefined && (there.kind !== 'folder' || !(await isUnused(fs, folder)))) {
    throw new StillpointError('TARGET_NOT_EMPTY', `${into} exists and is not an empty folder`, {
      path: into,
    });
  }
  const refuse = (what: string, hint: string): StillpointError =>
    new StillpointError('INVALID_REQUEST', `${into} lies in ${what}`, { path: into, hint });
  if (ownerOf(folder) !== undefined)
    throw refuse(`a folder ${LIFECYCLE}, among snapshots`, 'Name a folder outside of it.');
  if (outside !== undefined && `${folder}${sep}`.startsWith(`${outside.folder}${sep}`))
    throw refuse(outside.what, outside.hint);
  return { folder, isMount: there !== undefined && (await isMountPoint(fs, folder)) };
}

/** A volume of ext4 is made with a folder `lost+found`. */
const isUnused = async (fs: FileSystem, folder: string): Promise<boolean> =>
  (await fs.list(folder)).every(({ name }) => name === 'lost+found');

/** Gives a finished folder its name, durably. An empty folder there is replaced; `TARGET_NOT_EMPTY` when somebody has filled it. */
export async function moveToTarget(fs: FileSystem, finished: string, target: string): Promise<void> {
  try {
    await fs.rename(finished, target);
  } catch (cause) {
    const code = systemCode(cause);
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST' && code !== 'EBUSY') throw cause;
    const why = code === 'EBUSY' ? 'is a mount point; name a folder inside it' : 'was filled meanwhile';
    throw new StillpointError('TARGET_NOT_EMPTY', `${target} ${why}`, { path: target, cause });
  }
  await fs.syncFolder(dirname(target));
}
