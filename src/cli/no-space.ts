import { Snapshots } from '../coordinator/snapshots.ts';
import { StillpointError } from '../errors.ts';
import { shellWord } from '../options/shell-word.ts';
import { blockingEnvironment } from './environment.ts';
import { size } from './text.ts';

/** Runs `work` on a data directory. Where the disk is full, the hint says what pruning would free, and when that is nothing. */
export const explainNoSpace = <T>(dataDir: string, work: () => Promise<T>): Promise<T> =>
  withHint(work, () => hintFor(dataDir));

/** The same of a restore in place: the snapshot that it restores might be one that goes, so pruning is no way out. */
export const explainNoSpaceToRestore = <T>(work: () => Promise<T>): Promise<T> =>
  withHint(work, async () => 'Free space on that file system, or restore with `--into ON_ANOTHER_DISK`.');

async function withHint<T>(work: () => Promise<T>, hint: () => Promise<string>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof StillpointError) || error.code !== 'NO_SPACE') throw error;
    const { message, path, data, cause } = error;
    throw new StillpointError('NO_SPACE', message, {
      hint: await hint().catch(() => error.hint),
      cause,
      ...(path !== undefined && { path }),
      ...(data !== undefined && { data }),
    });
  }
}

async function hintFor(dataDir: string): Promise<string> {
  const snapshots = new Snapshots({ dataDir, environment: blockingEnvironment });
  const dir = shellWord(dataDir);
  const frees = [
    // First what holds nothing of its own: it is known as that by the snapshot that it equals.
    {
      bytes: (await snapshots.pruneUndo({ keep: 0, dryRun: true })).freedBytes,
      by: `prune ${dir} --undo --keep 0`,
      and: ' and gives up the undo of restores',
    },
    {
      bytes: (await snapshots.prune({ keep: 1, dryRun: true })).freedBytes,
      by: `prune ${dir} --keep 1`,
      and: '',
    },
  ].filter(({ bytes }) => bytes > 0);
  if (frees.length === 0)
    return 'Free space on that file system: there is nothing here that could be pruned.';
  const ways = frees.map(({ bytes, by, and }) => `\`stillpoint ${by}\` frees ${size(bytes)}${and}`);
  return `Free space on that file system; ${ways.join(', ')}.`;
}
