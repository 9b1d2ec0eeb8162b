import { type Command, Option } from 'commander';
import { pruneSnapshots } from '../../coordinator/snapshots.ts';
import type { SnapshotSummary } from '../../snapshot/store/list.ts';
import type { PruneResult } from '../../snapshot/store/prune.ts';
import type { Cli } from '../cli.ts';
import { examples, paragraph } from '../help-text.ts';
import { positiveInteger } from '../options.ts';
import { count, size, visible } from '../text.ts';

interface Options {
  readonly keep: number;
  readonly dryRun?: boolean;
}

const NOTE =
  'The snapshot that `latest` names always stays, and so does one that is being read or is pinned.';

export function define(command: Command, cli: Cli): void {
  command
    .addOption(
      new Option('--keep <n>', 'how many of the newest stay')
        .argParser(positiveInteger)
        .makeOptionMandatory(),
    )
    .option('--dry-run', 'tell what would go and remove nothing')
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples('prune ./data --keep 7', 'prune ./data --keep 7 --dry-run --json')}`,
    )
    .action(async (dir: string, { keep, dryRun = false }: Options) => {
      const result = await pruneSnapshots(dir, { keep, dryRun });
      cli.output.result({ dryRun, ...result }, () => describe(result, dryRun));
    });
}

function describe({ removed, kept, busy }: PruneResult, dryRun: boolean): string[] {
  const line = (verb: string) => (snapshot: SnapshotSummary) =>
    `${verb} ${snapshot.name}${snapshot.totalBytes === null ? '' : `  ${size(snapshot.totalBytes)}`}`;
  return [
    ...removed.map(line(dryRun ? 'would remove' : 'removed')),
    ...busy.map(({ name }) => `${visible(name)} is being read or is pinned, and stays`),
    `${count(kept.length, 'snapshot')} ${dryRun ? 'would be ' : ''}kept`,
  ];
}
