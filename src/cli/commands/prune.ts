import type { Command, Option } from 'commander';
import { Snapshots } from '../../coordinator/snapshots.ts';
import { StillpointError } from '../../errors.ts';
import { withDataDir } from '../../options/shell-word.ts';
import { type PruneUndoOptions, pruneOptions, pruneUndoOptions } from '../../options/verify.ts';
import type { SnapshotSummary } from '../../snapshot/store/known-snapshot.ts';
import type { PruneResult } from '../../snapshot/store/prune.ts';
import type { PruneUndoResult, UndoStanding } from '../../snapshot/store/prune-undo.ts';
import type { Cli } from '../cli.ts';
import { Flags, type Given, mandatory } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { isKnownDamaged } from '../known-damage.ts';
import { addWaitFlag, patiently, waitMs } from '../patience.ts';
import { count, size, time, visible } from '../text.ts';

const NOTE =
  'The snapshot that `latest` names always stays, and so do the newest of the deepest proof that is not known to be damaged (`latest-good`) and one that is being read or is pinned. Damaged ones do not count; one goes once a good one that stays is newer.';

export function define(command: Command, cli: Cli): void {
  const flags = new Flags(pruneUndoOptions.fields, ['keep', 'dryRun', 'discardWrites']);
  const kindFlags = new Flags(pruneOptions.fields, ['kind']);
  flags.addTo(command, '', { keep: withSnapshotsText });
  kindFlags.addTo(command);
  addWaitFlag(command)
    .option('--undo', 'remove undo folders, which restores in place left, instead of snapshots')
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples('prune ./data --keep 7', 'prune ./data --keep 7 --dry-run --json', 'prune ./data --undo --keep 1', 'prune ./data --kind archive --keep 2')}`,
    )
    .action(async (dir: string, given: Given) => {
      const options = flags.read(given) as PruneUndoOptions;
      const { dryRun = false, keep } = options;
      const snapshots = new Snapshots({ dataDir: dir });
      const patient = <T>(work: () => Promise<T>) =>
        cli.interruptible((signal) => patiently(cli, waitMs(given), signal, work));
      if (given.undo === true) {
        const result = await patient(() => snapshots.pruneUndo(options));
        return cli.output.result({ dryRun, ...result }, () => describeUndo(result, dir, dryRun));
      }
      if (keep < 1) {
        throw new StillpointError('INVALID_REQUEST', '--keep must be at least 1: one snapshot stays', {
          hint: 'With `--undo`, 0 removes all undo folders.',
        });
      }
      // Before anything goes: a nightly prune says so in its mail, and a dry run in time.
      if (await isKnownDamaged(snapshots)) cli.output.warning(DAMAGED);
      const result = await patient(() => snapshots.prune({ ...options, ...kindFlags.read(given) }));
      cli.output.result({ dryRun, ...result }, () => describe(result, dryRun));
    });
}

function withSnapshotsText(option: Option, command: Command): void {
  mandatory(option, command);
  option.description = 'how many of the newest snapshots stay; with --undo, how many undo folders';
}

const DAMAGED =
  'the database itself is known to be damaged: better remove no snapshot until it is whole; `stillpoint status` says what to do';

const HOLDS = 'may hold writes that no snapshot has';
const SAVE =
  'to save what one may hold: `stillpoint undo DIR --to NAME`, then `stillpoint snapshot DIR`; to lose it: `--discard-writes`';
const NO_UNDO = 'no undo of these restores is possible any more';

function describeUndo(
  { removed, kept, freedBytes }: PruneUndoResult,
  dir: string,
  dryRun: boolean,
): string[] {
  const line =
    (verb: string) =>
    ({ name, createdAtMs, diskBytes, mayHoldWrites }: UndoStanding) =>
      `${verb} ${name}: replaced ${time(createdAtMs)}, ${size(diskBytes)}${mayHoldWrites ? `, ${HOLDS}` : ''}`;
  return [
    ...removed.map(line(dryRun ? 'would remove' : 'removed')),
    ...kept.map(line(dryRun ? 'would keep' : 'kept')),
    ...(kept.some(({ mayHoldWrites }) => mayHoldWrites) ? [withDataDir(SAVE, dir)] : []),
    ...(removed.length > 0 && !dryRun ? [NO_UNDO] : []),
    `${count(kept.length, 'undo folder')} ${dryRun ? 'would be ' : ''}kept, ${size(freedBytes)} ${dryRun ? 'would be ' : ''}freed`,
  ];
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
