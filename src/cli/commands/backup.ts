import { type Command, Option } from 'commander';
import { type BackUpResult, backUp } from '../../backup/back-up.ts';
import { type BackupList, type BackupSummary, listBackups, showBackup } from '../../backup/list-backups.ts';
import type { BackupProgress } from '../../backup/options.ts';
import { openBackup, restoreBackup } from '../../backup/restore-backup.ts';
import { verifyBackup } from '../../backup/verify-backup.ts';
import { BackupCoordinator } from '../../coordinator/backup.ts';
import type { EngineName } from '../../engine/engine.ts';
import { LEVELS, type Level } from '../../engine/report.ts';
import { StillpointError } from '../../errors.ts';
import { Lifecycle } from '../../operation/lifecycle.ts';
import { BACKUP_LEVELS, type BackupLevel } from '../../repository/verify.ts';
import type { Cli } from '../cli.ts';
import { commandEnvironment } from '../environment.ts';
import { examples, paragraph } from '../help-text.ts';
import { describeUndo, restoreFrom } from '../in-place.ts';
import { nonEmpty } from '../non-empty.ts';
import { engineOption, levelOption, positiveInteger } from '../options.ts';
import type { Progress } from '../progress.ts';
import { recoverFirst } from '../recover-first.ts';
import { findingLine, proofText, verdictText } from '../report-text.ts';
import type { Style } from '../style.ts';
import { subcommand } from '../subcommand.ts';
import { count, duration, number, size, table, time, visible } from '../text.ts';

const DAMAGED = 3;
const BACKUP = { '<backup>': '"latest" or the id of a backup' };

export function define(command: Command, cli: Cli): void {
  defineRun(command, cli);
  defineLists(command, cli);
  defineRestore(command, cli);
  defineVerify(command, cli);
}

interface RunOptions {
  readonly to: string;
  readonly snapshot?: string;
  readonly engine: 'auto' | EngineName;
  readonly level: Level;
  readonly keep?: number;
  readonly claim?: true;
  readonly newStore?: true;
}

const RUN_NOTE = `
What the repository has already is not sent again. Every run is on record: see \`stillpoint jobs list\`. A
directory that was cloned keeps the identity of its original; the one whose backups are to go on in the
repository takes --claim, the other --new-store.`;

function defineRun(command: Command, cli: Cli): void {
  subcommand(command, 'run', 'take a snapshot and keep a backup of it in a repository', {
    '<dir>': "the database's data directory",
  })
    .addOption(
      new Option('--to <dest>', 'the repository: a folder').argParser(nonEmpty).makeOptionMandatory(),
    )
    .addOption(
      new Option('--snapshot <snapshot>', 'back up this one instead: "latest", a name or an id').argParser(
        nonEmpty,
      ),
    )
    .addOption(engineOption())
    .addOption(levelOption())
    .addOption(
      new Option(
        '--keep <n>',
        'afterwards remove all but the newest n snapshots beside the database',
      ).argParser(positiveInteger),
    )
    .option('--claim', "go on with the store's newest backup although it came from elsewhere")
    .addOption(new Option('--new-store', 'give this directory an identity of its own').conflicts('claim'))
    .addHelpText(
      'after',
      `${paragraph(RUN_NOTE)}\n${examples(
        'backup run ./data --to /mnt/backups',
        'backup run ./data --to /mnt/backups --snapshot latest --json',
      )}`,
    )
    .action(async (dir: string, options: RunOptions) => {
      const { to, snapshot, engine, level, keep, claim = false, newStore = false } = options;
      const lifecycle = new Lifecycle({ dataDir: dir, environment: commandEnvironment });
      await recoverFirst(cli, lifecycle);
      const result = await cli.watched((signal, progress) =>
        backUp(dir, {
          environment: commandEnvironment,
          coordinator: new BackupCoordinator({ dataDir: dir, engine, lifecycle }),
          to,
          snapshotOptions: { level, ...(keep !== undefined && { keep }) },
          claim,
          newStore,
          signal,
          onProgress: shown(progress),
          ...(snapshot !== undefined && { snapshot }),
        }),
      );
      cli.output.result(result, (style) => describeRun(result, to, style));
    });
}

const shown =
  (progress: Progress) =>
  ({ phase, bytesProcessed, bytesTotal }: BackupProgress): void =>
    progress.show(phase, bytesProcessed, bytesTotal);

function describeRun(result: BackUpResult, to: string, style: Style): string[] {
  const { backupId, totalBytes, uploadedBytes, reusedBytes, report, durationsMs } = result;
  const ms = Object.values(durationsMs).reduce((sum, phase) => sum + phase, 0);
  return [
    `${style.bold(backupId)}  ${style.dim(visible(to))}`,
    `  ${size(totalBytes)}: ${size(uploadedBytes)} uploaded, ${size(reusedBytes)} were there already`,
    ...(report === null ? [] : [`  ${style.green('proven')}: ${proofText(report)}`]),
    `  ${duration(ms)}`,
  ];
}

interface FromFlags {
  readonly from: string;
  readonly store?: string;
}

const withFrom = (command: Command): Command =>
  command
    .addOption(
      new Option('--from <dest>', 'the repository: a folder').argParser(nonEmpty).makeOptionMandatory(),
    )
    .addOption(new Option('--store <id>', 'the store, where the repository has several').argParser(nonEmpty));

const fromOf = ({ from, store }: FromFlags) => ({
  environment: commandEnvironment,
  from,
  ...(store !== undefined && { store }),
});

function defineLists(command: Command, cli: Cli): void {
  withFrom(subcommand(command, 'list', 'list the backups in a repository', {}))
    .addHelpText('after', examples('backup list --from /mnt/backups'))
    .action(async (options: FromFlags) => {
      const list = await listBackups(fromOf(options));
      cli.output.result(list, (style) => describeList(list, style));
    });
  withFrom(subcommand(command, 'show', 'show what a backup is', BACKUP))
    .addHelpText('after', examples('backup show latest --from /mnt/backups'))
    .action(async (backup: string, options: FromFlags) => {
      const summary = await showBackup(backup, fromOf(options));
      cli.output.result(summary, (style) => describeBackup(summary, style));
    });
}

function describeList({ storeId, backups }: BackupList, style: Style): string[] {
  const rows = backups.map(({ backupId, createdAtMs, engine, files, totalBytes, problem }) => [
    backupId,
    time(createdAtMs),
    visible(engine ?? '-'),
    files === null ? '-' : number(files),
    totalBytes === null ? '-' : size(totalBytes),
    problem === null ? '' : visible(problem),
  ]);
  const [head = '', ...lines] = table(
    [['BACKUP', 'CREATED', 'ENGINE', 'FILES', 'SIZE', ''], ...rows],
    [3, 4],
  );
  return [
    `store ${storeId}`,
    ...(backups.length === 0 ? ['no backup yet'] : [style.dim(head)]),
    ...lines.map((line, i) => (backups[i]!.problem === null ? line : style.red(line))),
  ];
}

function describeBackup(summary: BackupSummary & { readonly storeId: string }, style: Style): string[] {
  const { backupId, storeId, createdAtMs, engine, files, totalBytes, storedBytes, tool } = summary;
  return [
    `${style.bold(backupId)}  ${visible(engine ?? '-')}, made ${time(createdAtMs)} by ${visible(tool ?? '-')}`,
    `  store ${storeId}`,
    `  ${count(files ?? 0, 'file')}, ${size(totalBytes ?? 0)}; ${size(storedBytes ?? 0)} stored`,
  ];
}

interface RestoreOptions extends FromFlags {
  readonly into?: string;
  readonly inPlace?: string;
  readonly level?: Level;
  readonly allowOtherStore?: true;
}

const RESTORE_NOTE = `
A new machine needs nothing but the repository. A restore in place needs the database closed. What it
replaces is kept for \`stillpoint undo\`.`;

function defineRestore(command: Command, cli: Cli): void {
  withFrom(subcommand(command, 'restore', 'restore a backup into a new folder, or in place', BACKUP))
    .addOption(
      new Option('--into <dir>', 'a new folder; must not exist or be empty')
        .argParser(nonEmpty)
        .conflicts('inPlace'),
    )
    .addOption(new Option('--in-place <dir>', 'replace the files of this data directory').argParser(nonEmpty))
    .option('--allow-other-store', 'with --in-place: the backup may be one of another store')
    .addOption(
      new Option(
        '--level <level>',
        'with --into: how thoroughly the restored files are proven (default: "full")',
      )
        .choices(LEVELS)
        .conflicts('inPlace'),
    )
    .addHelpText(
      'after',
      `${paragraph(RESTORE_NOTE)}\n${examples(
        'backup restore latest --from /mnt/backups --into ./data',
        'backup restore latest --from /mnt/backups --in-place ./data',
      )}`,
    )
    .action(async (backup: string, options: RestoreOptions) => {
      if (options.into !== undefined) return restoreInto(cli, backup, options.into, options);
      if (options.inPlace !== undefined) return restoreInPlace(cli, backup, options.inPlace, options);
      throw new StillpointError('INVALID_REQUEST', 'where to is missing: --into <dir> or --in-place <dir>', {
        hint: 'Run `stillpoint backup restore --help`.',
      });
    });
}

async function restoreInto(cli: Cli, backup: string, into: string, options: RestoreOptions): Promise<void> {
  const { level } = options;
  const { report, ...restored } = await cli.watched((signal, progress) =>
    restoreBackup(backup, {
      ...fromOf(options),
      into,
      signal,
      onProgress: shown(progress),
      ...(level !== undefined && { level }),
    }),
  );
  cli.output.result(restored, (style) => [
    `${style.bold(restored.backupId)} restored into ${visible(restored.into)}`,
    `  ${count(restored.files, 'file')}, ${size(restored.bytes)}; ${style.green('proven')}: ${proofText(report)}`,
  ]);
}

async function restoreInPlace(cli: Cli, backup: string, dir: string, options: RestoreOptions): Promise<void> {
  const { allowOtherStore = false } = options;
  const { backupId, storeId, source } = await openBackup(backup, {
    ...fromOf(options),
    ...(!allowOtherStore && { dataDir: dir }),
  });
  const { into, files, bytes, undo, report } = await restoreFrom(cli, dir, async () => source);
  cli.output.result({ backupId, storeId, into, files, bytes, undo }, (style) => [
    `${style.bold(backupId)} restored in place: ${visible(into)}`,
    `  ${count(files, 'file')}, ${size(bytes)}${report === null ? '' : `; ${style.green('proven')}: ${proofText(report)}`}`,
    ...describeUndo(into, undo),
  ]);
}

interface VerifyOptions extends FromFlags {
  readonly level: BackupLevel;
  readonly scratch?: string;
}

function defineVerify(command: Command, cli: Cli): void {
  withFrom(subcommand(command, 'verify', 'read a backup and report all that is wrong with it', BACKUP))
    .addOption(
      new Option(
        '--level <level>',
        'how thoroughly: manifest (objects are there), data (and were read), full (and restored into a scratch folder and proven)',
      )
        .choices(BACKUP_LEVELS)
        .default('data'),
    )
    .addOption(
      new Option('--scratch <dir>', 'for --level full: a folder with room for the whole').argParser(nonEmpty),
    )
    .addHelpText(
      'after',
      examples(
        'backup verify latest --from /mnt/backups',
        'backup verify latest --from /mnt/backups --level full --scratch /var/tmp',
      ),
    )
    .action(async (backup: string, options: VerifyOptions) => {
      const { level, scratch } = options;
      const report = await cli.watched((signal, progress) =>
        verifyBackup(backup, {
          ...fromOf(options),
          level,
          signal,
          onProgress: shown(progress),
          ...(scratch !== undefined && { scratch }),
        }),
      );
      cli.output.result(report, (style) => [
        ...report.findings.map((finding) => findingLine(finding, style)),
        `${report.backupId}: ${verdictText({ ...report, level: 'full' }, style)}  ${style.dim(`(${report.engine}, level ${level})`)}`,
        `  ${count(report.counts.files, 'file')}, ${size(report.counts.bytes)} in ${duration(msOf(report.steps))}`,
      ]);
      if (!report.ok) cli.exitCode = DAMAGED;
    });
}

const msOf = (steps: readonly { readonly durationMs: number }[]): number =>
  steps.reduce((sum, { durationMs }) => sum + durationMs, 0);
