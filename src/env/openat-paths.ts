import { closeSync, constants, existsSync, lstatSync, readlinkSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { StillpointError, systemCode } from '../errors.ts';
import { DESCRIPTORS, type KeptAnchors, NONE_KEPT } from './kept-anchors.ts';
import { warn } from './safe-calls.ts';

/**
 * Paths that no symbolic link can redirect. The folder of a name is opened first, and the name is looked up from that descriptor
 * (`/proc/self/fd/<n>/<name>`, as `openat` does). A folder on the way that is a symbolic link, or becomes one during the run, is
 * `UNSUPPORTED_FILE`. One that is replaced after it was opened has no effect.
 *
 * So paths must be real: a path from a user goes through `realPath` or `realPlace` first. Only Linux has such names.
 * Elsewhere paths are used as they are, and only their last component is safe.
 */
export interface Anchors {
  /** Hands `use` a name for `path` itself, whose last component `use` must not follow. */
  name<T>(path: string, use: (anchored: string) => T | Promise<T>): Promise<T>;
  /** Hands `use` a name for the content of the folder `path`. */
  folder<T>(path: string, use: (anchored: string) => T | Promise<T>): Promise<T>;
}

/** Opens a folder for look-ups only, which needs no right to read it. Node has no constant for it. */
const O_PATH = 0o10000000;
export const ANCHOR_FLAGS = O_PATH | (constants.O_DIRECTORY ?? 0) | (constants.O_NOFOLLOW ?? 0);

/** Not where `/proc` is not mounted. */
export const HAS_DESCRIPTOR_NAMES = process.platform === 'linux' && existsSync(DESCRIPTORS);

/**
 * @param openFolder Opens with `ANCHOR_FLAGS`. Everything else asks the kernel only, and never waits for a disk.
 * @param kept Where a descriptor is kept for the next call. Only for a thread whose event loop goes on turning.
 */
export function anchors(
  openFolder: (path: string) => number | Promise<number>,
  kept: KeptAnchors = NONE_KEPT,
): Anchors {
  if (!HAS_DESCRIPTOR_NAMES) {
    const asItIs = async <T>(path: string, use: (name: string) => T | Promise<T>): Promise<T> => {
      warnOfMissingProc();
      return use(path);
    };
    return { name: asItIs, folder: asItIs };
  }

  async function openReal(folder: string): Promise<number> {
    try {
      const fd = await openFolder(folder);
      // The kernel's own name for it is the path that was asked for: no link was on the way.
      if (readlinkSync(`${DESCRIPTORS}/${fd}`) === folder) return fd;
      closeSync(fd);
    } catch (error) {
      if (systemCode(error) !== 'ENOTDIR') throw error;
    }
    return openStepwise(folder);
  }

  /** Part by part: where the kernel has another name for the folder (another case, a mount), or to find the part that is a link. */
  async function openStepwise(folder: string): Promise<number> {
    let fd = await openFolder('/');
    let place = '/';
    for (const part of folder.split('/').filter((text) => text !== '')) {
      const step = `${DESCRIPTORS}/${fd}/${part}`;
      place = join(place, part);
      try {
        const next = await openFolder(step);
        closeSync(fd);
        fd = next;
      } catch (error) {
        const isLink = lstatSync(step, { throwIfNoEntry: false })?.isSymbolicLink();
        closeSync(fd);
        if (isLink !== true) throw renamed(error, step, place);
        throw new StillpointError(
          'UNSUPPORTED_FILE',
          `${place} is a symbolic link, and a folder belongs there`,
          {
            path: place,
            cause: renamed(error, step, place),
          },
        );
      }
    }
    return fd;
  }

  async function within<T>(folder: string, use: (anchor: string) => T | Promise<T>): Promise<T> {
    const held = kept.take(folder) ?? kept.add(folder, await openReal(folder));
    const anchor = `${DESCRIPTORS}/${held.fd}`;
    try {
      return await use(anchor);
    } catch (error) {
      throw renamed(error, anchor, folder);
    } finally {
      kept.release(held);
    }
  }

  return {
    name(path, use) {
      const full = resolve(path);
      return within(dirname(full), (anchor) => use(`${anchor}/${basename(full)}`));
    },
    folder: (path, use) => within(resolve(path), use),
  };
}

let isWarned = process.platform !== 'linux';

function warnOfMissingProc(): void {
  if (isWarned) return;
  isWarned = true;
  warn('/proc is not mounted: a folder that is replaced by a symbolic link during a run would be followed');
}

/** Replaces the descriptor's name in an error by the path that the caller knows. */
function renamed(error: unknown, anchor: string, folder: string): unknown {
  const told = error as Record<string, unknown>;
  if (systemCode(error) === undefined || error instanceof StillpointError) return error;
  const known = new RegExp(`${anchor.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')}(/|(?=')|$)`, 'g');
  for (const key of ['message', 'stack', 'path', 'dest']) {
    const text = told[key];
    if (typeof text === 'string') told[key] = text.replace(known, (_, end) => join(folder, end));
  }
  return error;
}
