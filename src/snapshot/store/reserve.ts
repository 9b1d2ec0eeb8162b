import { join } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import { createFile, removeIfPresent, replaceFile, temporaryOf } from '../../env/io.ts';
import { isNoSpace } from '../../errors.ts';
import type { Layout } from './layout.ts';

/**
 * Files in `.lifecycle` that keep space aside for a full disk. `reserve`: to finish an interrupted restore, or to remove a snapshot, a
 * journal or an entry of a folder may have to be written first. `reserve-records`: the line that says how a run ended.
 * `reserve-proofs`: as large as a ledger of proofs, which is replaced whole when damage is found.
 */
const RESERVE_BYTES = { reserve: 64 * 1024, 'reserve-records': 32 * 1024 } as const;
const STEP_BYTES = 64 * 1024;
type Reserve = keyof typeof RESERVE_BYTES | 'reserve-proofs';

/** Sets the space aside, unless it is there. A disk without room for it is no failure. */
export async function keepReserves(fs: FileSystem, { lifecycle }: Layout): Promise<void> {
  for (const [name, bytes] of Object.entries(RESERVE_BYTES)) {
    const path = join(lifecycle, name);
    if ((await fs.inspect(path)) !== undefined) continue;
    try {
      await createFile(fs, path, Buffer.alloc(bytes, 'reserve '));
    } catch (error) {
      await removeIfPresent(fs, path);
      if (!isNoSpace(error)) throw error;
    }
  }
}

/** Sets space aside for a ledger of `bytes`, unless as much is there. A disk without room for it is no failure. */
export async function keepProofReserve(fs: FileSystem, { lifecycle }: Layout, bytes: number): Promise<void> {
  const path = join(lifecycle, 'reserve-proofs');
  if (((await fs.inspect(path))?.sizeBytes ?? 0) >= bytes) return;
  const wholeSteps = Math.ceil(bytes / STEP_BYTES) * STEP_BYTES;
  try {
    await replaceFile(fs, path, Buffer.alloc(wholeSteps, 'reserve '));
  } catch (error) {
    await removeIfPresent(fs, temporaryOf(path));
    if (!isNoSpace(error)) throw error;
  }
}

/** Does `work`; where the disk is full, gives up the reserve and does it again. `work` must be repeatable. */
export async function withReserve<T>(
  fs: FileSystem,
  { lifecycle }: Layout,
  work: (isAgain: boolean) => Promise<T>,
  name: Reserve = 'reserve',
): Promise<T> {
  const path = join(lifecycle, name);
  try {
    return await work(false);
  } catch (error) {
    if (!isNoSpace(error) || (await fs.inspect(path)) === undefined) throw error;
    await removeIfPresent(fs, path);
    return work(true);
  }
}
