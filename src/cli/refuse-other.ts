import { resolve } from 'node:path';
import { detectEngine } from '../engine/index.ts';
import { nodeFileSystem } from '../env/node-file-system.ts';
import { StillpointError } from '../errors.ts';
import { shellWord } from '../options/shell-word.ts';
import { layoutOf, ownerOf } from '../snapshot/store/layout.ts';

/** A folder without snapshots that is no data directory either: most likely a mistake in the path. */
export async function refuseOther(command: string, dir: string): Promise<void> {
  const fs = nodeFileSystem;
  const owner = ownerOf(resolve(dir));
  if (owner !== undefined) {
    throw new StillpointError('ENGINE_MISMATCH', `${dir} is no data directory`, {
      path: dir,
      hint: `Try: stillpoint ${command} ${shellWord(owner)}`,
    });
  }
  if ((await fs.inspect(layoutOf(dir).lifecycle)) !== undefined) return;
  if ((await detectEngine(fs, dir)) !== undefined) return;
  const isEmpty = (await fs.list(dir)).length === 0;
  throw new StillpointError(
    isEmpty ? 'EMPTY_SOURCE' : 'ENGINE_MISMATCH',
    `${dir} is no data directory: ${isEmpty ? 'it is empty' : 'it holds neither snapshots nor files of a known engine'}`,
    { path: dir, hint: 'Check the path.' },
  );
}
