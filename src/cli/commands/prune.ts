import type { Command } from 'commander';
import { Snapshots } from '../../coordinator/snapshots.ts';
import { type PruneOptions, pruneOptions } from '../../options/verify.ts';
import type { SnapshotSummary } from '../../snapshot/store/list.ts';
import type { PruneResult } from '../../snapshot/store/prune.ts';
import type { Cli } from '../cli.ts';
import { Flags, type Given, mandatory } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { count, size, visible } from '../text.ts';

const NOTE =
  'The snapshot that `latest` names always stays, and so do the newest of the deepest proof that is not known to be damaged (`latest-good`) and one that is being read or is pinned. Damaged ones do not count; one goes once a good one that stays is newer.';

export function define(command: Command, cli: Cli): void {
  const flags = new Flags(pruneOptions.fields, ['keep', 'dryRun']);
  flags.addTo(command, '', { keep: mandatory });
  command
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples('prune ./data --keep 7', 'prune ./data --keep 7 --dry-run --json')}`,
    )
    .action(async (dir: string, given: Given) => {
      const options = flags.read(given);
      const { dryRun = false } = options;
      const result = await new Snapshots({ dataDir: dir }).prune(options as PruneOptions);
      cli.output.result({ dryRun, ...result }, () => describe(result, dryRun));
    });
}

function describe({ removed, kept, busy, decisions, freedBytes }: PruneResult, dryRun: boolean): string[] {
  const reasons = new Map(decisions.map(({ name, reason }) => [name, visible(reason)]));
  const line =
    (verb: string) =>
    ({ name }: SnapshotSummary) =>
      `${verb} ${name}: ${reasons.get(name)}`;
  return [
    ...removed.map(line(dryRun ? 'would remove' : 'removed')),
    ...busy.map(({ name }) => `${visible(name)} is being read or is pinned, and stays`),
    ...kept.filter((snapshot) => !busy.includes(snapshot)).map(line(dryRun ? 'would keep' : 'kept')),
    `${count(kept.length, 'snapshot')} ${dryRun ? 'would be ' : ''}kept, ${size(freedBytes)} ${dryRun ? 'would be ' : ''}freed`,
  ];
}
