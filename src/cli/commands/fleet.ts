import { type Command, Option } from 'commander';
import { type FleetReport, verifyFleetBackup } from '../../fleet/copies/integrity.ts';
import {
  type AbortResult,
  abortFleet,
  checkFleet,
  downloadFleet,
  type FleetCheck,
  type FleetRun,
  planFleet,
  runFleet,
} from '../../fleet/fleet.ts';
import {
  abortFleetOptions,
  downloadFleetOptions,
  planFleetOptions,
  runFleetOptions,
} from '../../fleet/options.ts';
import type { FleetPlan } from '../../fleet/plan/derive-plan.ts';
import type { SnapshotDownload } from '../../fleet/run/download-snapshots.ts';
import { type FleetStatus, fleetStatus } from '../../fleet/status.ts';
import { systemEnvironment } from '../../snapshot/environment.ts';
import type { Cli } from '../cli.ts';
import { Flags, type Given, mandatory } from '../flags.ts';
import { withFleetTable } from '../fleet-table.ts';
import { examples, paragraph } from '../help-text.ts';
import type { Style } from '../style.ts';
import { subcommand } from '../subcommand.ts';
import { count, duration, table, visible } from '../text.ts';
import { defineForget } from './fleet-forget.ts';
import { defineRestore, defineUndo } from './fleet-restore.ts';

const FLEET_FILE = { '<fleetfile>': 'a JSON file that names the nodes and their units' };
const LAYOUT = { '<dir>': 'the folder of a backup' };
// Others are served meanwhile: nothing may block the event loop.
const environment = systemEnvironment;

const DAMAGED = 3;
const PARTLY = 6;

export function define(command: Command, cli: Cli): void {
  defineCheck(command, cli);
  definePlan(command, cli);
  defineRun(command, cli);
  defineStatus(command, cli);
  defineVerify(command, cli);
  defineForget(command, cli);
  defineAbort(command, cli);
  defineDownload(command, cli);
  defineRestore(command, cli);
  defineUndo(command, cli);
}

function defineCheck(command: Command, cli: Cli): void {
  subcommand(command, 'check', 'ask every node who it is; change nothing', FLEET_FILE)
    .addHelpText('after', examples('fleet check fleet.json'))
    .action(async (file: string) => {
      const check = await cli.interruptible((signal) => checkFleet(file, { signal, environment }));
      cli.output.result(check, (style) => describeCheck(check, style));
      if (!check.ok) cli.exitCode = PARTLY;
    });
}

function describeCheck({ fleet, nodes }: FleetCheck, style: Style): string[] {
  const rows = nodes.map(({ id, url, engine, storeId, error }) => [
    visible(id),
    visible(url),
    visible(engine ?? '-'),
    visible(storeId ?? '-'),
    error === null ? '' : `${visible(error.message)} (${error.code})`,
  ]);
  const bad = nodes.map(({ error }) => error !== null);
  return [...titled(['NODE', 'URL', 'ENGINE', 'STORE', ''], rows, bad, style), summary(fleet, bad)];
}

const summary = (fleet: string, bad: readonly boolean[]): string => {
  const failed = bad.filter(Boolean).length;
  return `${visible(fleet)}: ${count(bad.length, 'node')}${failed === 0 ? ', all answer' : `, ${failed} ${failed === 1 ? 'does' : 'do'} not take part`}`;
};

function titled(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  isBad: readonly boolean[],
  style: Style,
): string[] {
  const [first = '', ...lines] = table([head, ...rows]);
  return [style.dim(first), ...lines.map((line, i) => (isBad[i] ? style.red(line) : line))];
}

const planFlags = new Flags(planFleetOptions.fields, [
  'layoutDir',
  'nodes',
  'subtree',
  'role',
  'partialUnits',
  'policy',
  'push',
  'dryRun',
]);

function definePlan(command: Command, cli: Cli): void {
  const plan = subcommand(
    command,
    'plan',
    'make the plan of a backup; change nothing on the nodes',
    FLEET_FILE,
  );
  planFlags.addTo(plan, '', { layoutDir: mandatory });
  plan
    .addHelpText(
      'after',
      examples(
        'fleet plan fleet.json --out ./backups/today --dry-run',
        'fleet plan fleet.json --out ./b --role orders',
      ),
    )
    .action(async (file: string, given: Given) => {
      const { layoutDir, ...options } = planFlags.read(given);
      const made = await cli.interruptible((signal) =>
        planFleet(file, { ...options, layoutDir: layoutDir!, signal, environment }),
      );
      cli.output.result(made, (style) => describePlan(made, style));
    });
}

const WORDS: Readonly<Record<string, string>> = {
  stop: 'quiesce',
  'create-snapshot': 'take a snapshot of',
  start: 'resume',
  'download-snapshot': 'download from',
  'push-snapshot': 'push the snapshot of',
  'verify-artifact': 'prove the copy of',
};

function describePlan(
  { planId, layoutDir, policy, repository, units, commands, dryRun }: FleetPlan,
  style: Style,
): string[] {
  return [
    `${style.bold(planId)}  ${style.dim(`(${policy}${repository === null ? '' : `, pushed into ${visible(repository)}`})`)}  ${dryRun ? 'would be written to' : 'written to'} ${visible(layoutDir)}`,
    ...units.map(({ unitId, kind, targets, leftOut }) => {
      const without = leftOut.length === 0 ? '' : `, without ${leftOut.map(visible).join(', ')}`;
      return `  unit ${visible(unitId)} (${kind}): ${targets.map(visible).join(', ')}${without}`;
    }),
    ...commands.flatMap(({ kind, target }) =>
      target === null ? [] : [`  ${WORDS[kind]} ${visible(target)}`],
    ),
  ];
}

const runFlags = new Flags(runFleetOptions.fields, [
  'layoutDir',
  'nodes',
  'subtree',
  'role',
  'partialUnits',
  'policy',
  'push',
  'leaseMs',
  'concurrency',
  'keepSnapshots',
  'maxSteps',
  'steps',
]);

const RUN_NOTE = `
Run it again after any failure or interruption: it goes on where it ended. All nodes of a unit refuse writes together, from
the first answer until the state of the last snapshot is fixed; a node that hears nothing takes writes again when its lease runs out.
The exit code is 6 when units failed and others are whole. With --max-steps operations are executed one after the other, and
the first failure ends the run; nodes that refuse writes at its end take them again when their leases run out.`;

function defineRun(command: Command, cli: Cli): void {
  const run = subcommand(command, 'run', 'take a backup of the fleet, or go on with one', FLEET_FILE);
  runFlags.addTo(run, '', { layoutDir: mandatory });
  run
    .addHelpText(
      'after',
      `${paragraph(RUN_NOTE)}\n${examples('fleet run fleet.json --out ./backups/today', 'fleet run fleet.json --out ./backups/today --lease 2m --concurrency 8')}`,
    )
    .action(async (file: string, given: Given) => {
      const { layoutDir, ...options } = runFlags.read(given);
      const required = { layoutDir: layoutDir! };
      await withFleetTable(cli, {
        doing: 'starting the nodes again',
        work: (signal, onProgress) =>
          runFleet(file, { ...options, ...required, signal, environment, onProgress }),
        describe: (result, style) => describeRun(result, required.layoutDir, style),
        isDone: ({ complete, maxStepsReached }) => complete || maxStepsReached,
      });
    });
}

function describeRun(
  { complete, maxStepsReached, executedOperationCount, backupId, units, nodes, pinned }: FleetRun,
  out: string,
  style: Style,
): string[] {
  const failed = units.filter(({ state }) => state === 'failed');
  return [
    ...units.map(({ unitId, state, window, windowMs, error }) => {
      const time = windowMs === null ? '' : `, without writes for ${duration(windowMs)}`;
      const line = `unit ${visible(unitId)}: ${state}, window ${window}${time}`;
      return error === null ? line : style.red(`${line}: ${visible(error.message)} (${error.code})`);
    }),
    complete
      ? `${style.green('complete')}: ${count(nodes.length, 'node')}, backup ${style.bold(backupId)} in ${visible(out)}`
      : maxStepsReached
        ? `${count(executedOperationCount, 'operation')} executed; run the same command again to go on`
        : `${style.red('not complete')}: ${failed.length} of ${count(units.length, 'unit')} failed; run the same command again`,
    ...notPinned(pinned, nodes.length, style),
  ];
}

function defineStatus(command: Command, cli: Cli): void {
  subcommand(command, 'status', 'how far a backup is', LAYOUT)
    .addHelpText('after', examples('fleet status ./backups/today'))
    .action(async (dir: string) => {
      const status = await fleetStatus(dir, environment);
      cli.output.result(status, (style) => describeStatus(status, style));
    });
}

function describeStatus(
  { backupId, complete, running, execution, nodes }: FleetStatus,
  style: Style,
): string[] {
  const rows = nodes.map(({ id, unit, window, state, error }) => [
    visible(id),
    visible(unit),
    String(window),
    state,
    visible(error ?? ''),
  ]);
  const bad = nodes.map(({ error }) => error !== null);
  const done = `${execution.completed ?? 0} of ${count(execution.total ?? 0, 'operation')} done`;
  return [
    ...titled(['NODE', 'UNIT', 'WINDOW', 'COPY', ''], rows, bad, style),
    `${style.bold(backupId)}: ${complete ? 'complete' : running ? 'a run is at work' : 'not complete'}, ${done}`,
  ];
}

function defineVerify(command: Command, cli: Cli): void {
  subcommand(command, 'verify', 'check a finished backup, offline: papers, folders and digests agree', LAYOUT)
    .addHelpText('after', examples('fleet verify ./backups/today'))
    .action(async (dir: string) => {
      const report = await cli.interruptible((signal) => verifyFleetBackup(dir, { signal, environment }));
      cli.output.result(report, (style) => describeReport(report, style));
      if (!report.ok) cli.exitCode = DAMAGED;
    });
}

const describeReport = (
  { ok, backupId, verified, members, pinned, findings }: FleetReport,
  style: Style,
): string[] => [
  ...findings.map(({ targetId, code, message }) =>
    style.red(`${visible(targetId ?? 'the backup')}: ${visible(message)} (${code})`),
  ),
  `${style.bold(backupId)}: ${ok ? style.green('intact') : style.red('damaged')}, ${verified} of ${count(members, 'copy', 'copies')} verified${pinned === null ? '' : `, ${pinned} pinned`}`,
  ...notPinned(pinned, members, style),
];

const notPinned = (pinned: number | null, members: number, style: Style): string[] =>
  pinned === null || pinned >= members
    ? []
    : [
        style.yellow(
          `${pinned} of ${count(members, 'member')} pinned: prunes of the repository may remove the others; a run pins none again, begin another in a new folder`,
        ),
      ];

const abortFlags = new Flags(abortFleetOptions.fields, ['layoutDir']);

function defineAbort(command: Command, cli: Cli): void {
  const abort = subcommand(command, 'abort', 'let every node of a backup take writes again', FLEET_FILE);
  abortFlags.addTo(abort, '', { layoutDir: mandatory });
  abort
    .addHelpText('after', examples('fleet abort fleet.json --out ./backups/today'))
    .action(async (file: string, given: Given) => {
      const { layoutDir } = abortFlags.read(given);
      const result = await cli.interruptible((signal) =>
        abortFleet(file, { layoutDir: layoutDir!, signal, environment }),
      );
      cli.output.result(result, (style) => describeAbort(result, style));
      if (!result.ok) cli.exitCode = PARTLY;
    });
}

function describeAbort({ nodes }: AbortResult, style: Style): string[] {
  const rows = nodes.map(({ id, outcome, message }) => [visible(id), outcome, visible(message ?? '')]);
  return titled(
    ['NODE', 'OUTCOME', ''],
    rows,
    nodes.map(({ outcome }) => outcome === 'failed'),
    style,
  );
}

const downloadFlags = new Flags(downloadFleetOptions.fields, [
  'targetId',
  'layoutDir',
  'dryRun',
  'leaseMs',
  'keepSnapshots',
]);

const DOWNLOAD_NOTE = `
One node after the other refuses writes until its snapshot is downloaded and proven. Each is consistent by itself; for one cut
through many nodes use "fleet run". Run it again after any failure or interruption: it goes on where it ended.`;

function defineDownload(command: Command, cli: Cli): void {
  const download = subcommand(
    command,
    'download',
    'download a snapshot of one node, or also of those below it',
    FLEET_FILE,
  );
  downloadFlags.addTo(download, '', {
    targetId: mandatory,
    layoutDir: mandatory,
  });
  download
    .addOption(new Option('--children', 'also of the nodes whose parent it is').conflicts('recursive'))
    .addOption(new Option('--recursive', 'also of all nodes below it'))
    .addHelpText(
      'after',
      `${paragraph(DOWNLOAD_NOTE)}\n${examples('fleet download fleet.json --node eu-1 --out ./eu-1', 'fleet download fleet.json --node eu-1 --recursive --out ./eu --dry-run')}`,
    )
    .action(async (file: string, given: Given) => {
      const { targetId, layoutDir, ...options } = downloadFlags.read(given);
      const scope = given.recursive === true ? 'recursive' : given.children === true ? 'children' : 'target';
      const required = { targetId: targetId!, layoutDir: layoutDir!, scope } as const;
      await withFleetTable(cli, {
        doing: 'starting the node again',
        work: (signal, onProgress) =>
          downloadFleet(file, { ...options, ...required, signal, environment, onProgress }),
        describe: describeDownload,
      });
    });
}

const COMMANDS = {
  stop: 'quiesce',
  create: 'take a snapshot of',
  download: 'download from',
  start: 'resume',
} as const;

function describeDownload(
  { dryRun, layoutDir, artifacts, plannedCommands }: SnapshotDownload,
  style: Style,
): string[] {
  if (dryRun)
    return [
      `would be written to ${visible(layoutDir)}`,
      ...plannedCommands.map(({ command, targetId }) => `  ${COMMANDS[command]} ${visible(targetId)}`),
    ];
  return [
    ...artifacts.map(
      ({ targetId, artifactPath, checksum }) =>
        `${visible(targetId)}: ${visible(artifactPath)}  ${style.dim(`sha256 ${checksum}`)}`,
    ),
    `${style.green('complete')}: ${count(artifacts.length, 'snapshot')} in ${visible(layoutDir)}`,
  ];
}
