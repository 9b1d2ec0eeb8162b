import type { Command } from 'commander';
import { StillpointError } from '../../errors.ts';
import { restoreFleetOptions, undoFleetOptions } from '../../fleet/options.ts';
import { type FleetRestore, restoreFleet, undoFleetRestore } from '../../fleet/restore/restore-fleet.ts';
import { systemEnvironment } from '../../snapshot/environment.ts';
import type { Cli } from '../cli.ts';
import { Flags, type Given, mandatory } from '../flags.ts';
import { type FleetTable, withFleetTable } from '../fleet-table.ts';
import { examples, paragraph } from '../help-text.ts';
import type { Style } from '../style.ts';
import { subcommand } from '../subcommand.ts';
import { count, table, visible } from '../text.ts';

const LAYOUT = { '<dir>': 'the folder of a finished backup' };
// Others are served meanwhile: nothing may block the event loop.
const environment = systemEnvironment;

const restoreFlags = new Flags(restoreFleetOptions.fields, [
  'fleetFile',
  'dryRun',
  'leaseMs',
  'concurrency',
  'patienceMs',
]);
const undoFlags = new Flags(undoFleetOptions.fields, [
  'fleetFile',
  'discardWrites',
  'without',
  'leaseMs',
  'concurrency',
]);

const RESTORE_NOTE = `
All copies are sent and proven before any node is touched. Then all nodes refuse writes and take a safety snapshot, and their databases are
exchanged, parents first. A failure before the first exchange lets all nodes go. If this process dies before it, they take writes again when
their leases (--lease) run out. After it they stay without writes until the same
command has finished, or "fleet undo" has taken everything back. The exit code is 6 until then.`;

const UNDO_NOTE = `
Brings every node back to its state before the last restore of this backup, finished or not. It is refused when a node has taken writes
since, or was restored again. Run it again after any failure.`;

export function defineRestore(command: Command, cli: Cli): void {
  const restore = subcommand(
    command,
    'restore',
    'restore a finished backup into the nodes of a fleet',
    LAYOUT,
  );
  restoreFlags.addTo(restore, '', { fleetFile: mandatory });
  restore
    .option(
      '--map <member=node>',
      'restore this member into that node; repeatable (default: the node of the same id)',
      (text: string, before: readonly string[]) => [...before, text],
      [] as readonly string[],
    )
    .addHelpText(
      'after',
      `${paragraph(RESTORE_NOTE)}\n${examples('fleet restore ./backups/today --fleet fleet.json --dry-run', 'fleet restore ./backups/today --fleet new.json --map eu-1=new-1')}`,
    )
    .action(async (dir: string, given: Given) => {
      const { fleetFile, ...options } = restoreFlags.read(given);
      const mapping = mappingOf(given.map as readonly string[]);
      await carryOut(cli, (signal, onProgress) =>
        restoreFleet(dir, { ...options, fleetFile: fleetFile!, mapping, signal, environment, onProgress }),
      );
    });
}

export function defineUndo(command: Command, cli: Cli): void {
  const undo = subcommand(command, 'undo', 'take the last restore of a backup back, on every node', LAYOUT);
  undoFlags.addTo(undo, '', { fleetFile: mandatory });
  undo
    .addHelpText(
      'after',
      `${paragraph(UNDO_NOTE)}\n${examples('fleet undo ./backups/today --fleet fleet.json')}`,
    )
    .action(async (dir: string, given: Given) => {
      const { fleetFile, ...options } = undoFlags.read(given);
      await carryOut(cli, (signal, onProgress) =>
        undoFleetRestore(dir, { ...options, fleetFile: fleetFile!, signal, environment, onProgress }),
      );
    });
}

function mappingOf(pairs: readonly string[]): Record<string, string> {
  const mapping: Record<string, string> = {};
  for (const pair of pairs) {
    const [member = '', node = '', ...rest] = pair.split('=');
    if (member === '' || node === '' || rest.length > 0)
      throw new StillpointError('INVALID_REQUEST', `--map ${pair}: must be MEMBER=NODE`);
    mapping[member] = node;
  }
  return mapping;
}

const carryOut = (
  cli: Cli,
  work: (signal: AbortSignal, show: FleetTable['show']) => Promise<FleetRestore>,
): Promise<void> =>
  withFleetTable(cli, {
    doing: 'ending the steps under way',
    work,
    describe,
    isDone: ({ complete, dryRun }) => complete || dryRun,
  });

function describe({ dryRun, complete, undone, restoreId, nodes }: FleetRestore, style: Style): string[] {
  const head = ['NODE', 'COPY OF', 'STATE', ''];
  const rows = nodes.map(({ id, member, state, error }) => [
    visible(id),
    visible(member),
    state,
    error === null ? '' : `${visible(error.message)} (${error.code})`,
  ]);
  const [first = '', ...lines] = table([head, ...rows]);
  const failed = nodes.filter(({ error }) => error !== null).length;
  return [
    style.dim(first),
    ...lines.map((line, i) => (nodes[i]!.error === null ? line : style.red(line))),
    `${style.bold(restoreId)}: ${
      dryRun
        ? `${count(nodes.length, 'node')} would be restored in this order`
        : undone
          ? style.green('taken back')
          : complete
            ? style.green('restored')
            : style.red(`not finished, ${count(failed, 'node')} failed; run it again, or "fleet undo"`)
    }`,
  ];
}
