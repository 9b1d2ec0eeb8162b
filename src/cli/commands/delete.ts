import { dirname } from 'node:path';
import type { Command } from 'commander';
import { Snapshots } from '../../coordinator/snapshots.ts';
import { StillpointError } from '../../errors.ts';
import { SNAPSHOT_KINDS } from '../../options/choices.ts';
import { deleteOptions } from '../../options/verify.ts';
import { isSnapshotPlace, nameOf, ownerOf } from '../../snapshot/store/layout.ts';
import type { Cli } from '../cli.ts';
import { Flags, type Given } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { addDataDirFlag } from '../options.ts';
import { addWaitFlag, patiently, waitMs } from '../patience.ts';
import { explainNotFound, findOperand } from '../snapshot-operand.ts';
import { size, visible } from '../text.ts';

const NOTE =
  'The snapshots that `latest` and `latest-good` name are refused, and so is one that is being read or is pinned. An archive or an export is named by its path.';

const flags = new Flags(deleteOptions.fields, ['dryRun']);

interface Options extends Given {
  readonly dataDir?: string;
}

export function define(command: Command, cli: Cli): void {
  flags.addTo(command);
  addDataDirFlag(addWaitFlag(command))
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples(
        'delete ts-1763625600 --data-dir ./data --dry-run',
        'delete ts-1763625600 --data-dir ./data',
        'delete ./data/.lifecycle/archive/ts-1763625600',
      )}`,
    )
    .action(async (snapshot: string, options: Options) => {
      const { dataDir } = options;
      const { dryRun = false } = flags.read(options);
      const { location } = await explainNotFound(snapshot, dataDir, () => findOperand(snapshot, dataDir));
      const snapshots = new Snapshots({ dataDir: dataDir ?? requireOwner(location) });
      const deleted = await cli.interruptible((signal) =>
        patiently(cli, waitMs(options), signal, () =>
          snapshots.delete(nameOf(location), { dryRun, kind: kindOf(location) }),
        ),
      );
      cli.output.result({ dryRun, ...deleted }, (style) => [
        dryRun
          ? `would delete ${style.bold(deleted.name)}: ${size(deleted.freedBytes)} would be freed`
          : `deleted ${style.bold(deleted.name)}: ${size(deleted.freedBytes)} freed`,
        ...(deleted.leftBehind
          ? ['  the database went back after it: it may hold writes that no newer one has']
          : []),
      ]);
    });
}

const kindOf = (location: string) => SNAPSHOT_KINDS.find((kind) => kind === nameOf(dirname(location)));

function requireOwner(location: string): string {
  const owner = isSnapshotPlace(location) ? ownerOf(location) : undefined;
  if (owner !== undefined) return owner;
  throw new StillpointError(
    'INVALID_REQUEST',
    `${visible(location)} is not among the snapshots of a data directory`,
    {
      path: location,
      hint: 'Name a snapshot with `--data-dir DIR`. A copy that stands elsewhere is a folder of yours.',
    },
  );
}
