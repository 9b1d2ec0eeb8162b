import { join } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import { createFile, removeIfPresent } from '../../env/io.ts';
import { isNoSpace } from '../../errors.ts';
import type { Layout } from './layout.ts';

/**
 * `.lifecycle/reserve`: space kept aside for a full disk. To finish an interrupted restore, or to remove a snapshot, a journal or
 * an entry of a folder may have to be written first.
 */
const RESERVE_BYTES = 64 * 1024;

const reserveOf = ({ lifecycle }: Layout): string => join(lifecycle, 'reserve');

/** Sets the space aside, unless it is there. A disk without room for it is no failure. */
export async function keepReserve(fs: FileSystem, layout: Layout): Promise<void> {
  const path = reserveOf(layout);
  if ((await fs.inspect(path)) !== undefined) return;
  try {
    await createFile(fs, path, Buffer.alloc(RESERVE_BYTES, 'reserve '));
  } catch (error) {
    await removeIfPresent(fs, path);
    if (!isNoSpace(error)) throw error;
  }
}

/** Does `work`; where the disk is full, gives up the reserve and does it again. `work` must be repeatable. */
export async function withReserve<T>(
  fs: FileSystem,
  layout: Layout,
  work: (isAgain: boolean) => Promise<T>,
): Promise<T> {
  try {
    return await work(false);
  } catch (error) {
    if (!isNoSpace(error) || (await fs.inspect(reserveOf(layout))) === undefined) throw error;
    await removeIfPresent(fs, reserveOf(layout));
    return work(true);
  }
}
