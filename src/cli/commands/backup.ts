import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { type BackUpResult, backUp, backUpOptions } from '../../backup/back-up.ts';
import {
  type BackupList,
  type BackupSummary,
  listBackups,
  type StoreList,
  showBackup,
} from '../../backup/list-backups.ts';
import { pruneBackupsOptions } from '../../backup/prune-backups.ts';
import {
  openBackup,
  openBackupOptions,
  type RestoreBackupOptions,
  restoreBackup,
  restoreBackupOptions,
} from '../../backup/restore-backup.ts';
import { BackupCoordinator } from '../../coordinator/backup.ts';
import type { StartRestoreOptions } from '../../coordinator/restore.ts';
import { StillpointError } from '../../errors.ts';
import { Lifecycle } from '../../operation/lifecycle.ts';
import { snapshotOptions } from '../../options/snapshot.ts';
import type { Cli } from '../cli.ts';
import { commandEnvironment } from '../environment.ts';
import { Flags, fromVariable, type Given, mandatory } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { describeUndo, restoreFrom } from '../in-place.ts';
import { addKeyFlags, keyOf } from '../key-flags.ts';
import { explainNoSpace } from '../no-space.ts';
import { nonEmpty } from '../non-empty.ts';
import { engineFlag } from '../options.ts';
import { recoverFirst } from '../recover-first.ts';
import { proofText, warningLines } from '../report-text.ts';
import { addFrom, BACKUP, fromOf, shown } from '../repository-flags.ts';
import type { Style } from '../style.ts';
import { subcommand } from '../subcommand.ts';
import { count, duration, number, size, table, time, visible } from '../text.ts';
import { defineKeeping, RETENTION } from './keep-backups.ts';
import { defineSalvage } from './salvage-backup.ts';
import { defineVerify } from './verify-backup.ts';

export function define(command: Command, cli: Cli): void {
  defineRun(command, cli);
  defineLists(command, cli);
  defineRestore(command, cli);
  defineVerify(command, cli);
  defineSalvage(command, cli);
  defineKeeping(command, cli);
}

const runFlags = new Flags(backUpOptions.fields, [
  'to',
  'snapshot',
  'local',
  'claim',
  'newStore',
  'readBack',
  'compress',
  'limitUpload',
  'limitDownload',
  'jobs',
]);
const snapshotFlags = new Flags(snapshotOptions.fields, ['allowUnread', 'level', 'keep']);
const retentionFlags = new Flags(pruneBackupsOptions.fields, RETENTION);

const RUN_NOTE = `
What the repository has already is not sent again. Every run is on record: see \`stillpoint jobs list\`. A
directory that was cloned keeps the identity of its original. Let one of them go on with --claim, and the
other begin with --new-store.`;

function defineRun(command: Command, cli: Cli): void {
  const run = subcommand(command, 'run', 'take a snapshot and keep a backup of it in a repository', {
    '<dir>': "the database's data directory",
  });
  runFlags.addTo(run, '', {
    to: mandatory,
    newStore: (option) => option.conflicts('claim'),
    jobs: fromVariable,
  });
  addKeyFlags(run);
  engineFlag.addTo(run);
  snapshotFlags.addTo(run);
  retentionFlags.addTo(run, 'afterwards in the repository: ');
  run
    .addHelpText(
      'after',
      `${paragraph(RUN_NOTE)}\n${examples(
        'backup run ./data --to /mnt/backups',
        'backup run ./data --to /mnt/backups --snapshot latest --json',
      )}`,
    )
    .action(async (dir: string, given: Given) => {
      const { to, ...options } = runFlags.read(given);
      const lifecycle = new Lifecycle({ dataDir: dir, environment: commandEnvironment });
      await recoverFirst(cli, lifecycle);
      const result = await explainNoSpace(dir, () =>
        cli.watched((signal, progress) =>
          backUp(dir, {
            ...options,
            ...keyOf(given),
            to: to!,
            environment: commandEnvironment,
            coordinator: new BackupCoordinator({ dataDir: dir, lifecycle, ...engineFlag.read(given) }),
            snapshotOptions: snapshotFlags.read(given),
            retention: retentionFlags.read(given),
            signal,
            onProgress: shown(progress),
          }),
        ),
      );
      for (const warning of result.warnings) cli.output.note(warning);
      cli.output.result(result, (style) => describeRun(result, String(to), style));
    });
}

function describeRun(result: BackUpResult, to: string, style: Style): string[] {
  const {
    backupId,
    totalBytes,
    uploadedBytes,
    reusedBytes,
    filesUploadedAgain,
    snapshot,
    report,
    durationsMs,
    pruned,
  } = result;
  const ms = Object.values(durationsMs).reduce((sum, phase) => sum + phase, 0);
  return [
    `${style.bold(backupId)}  ${style.dim(visible(to))}`,
    `  ${size(totalBytes)}: ${size(uploadedBytes)} uploaded, ${size(reusedBytes)} were there already`,
    ...(filesUploadedAgain === 0
      ? []
      : [
          `  ${count(filesUploadedAgain, 'file')} uploaded again: the objects are damaged, missing or about to go`,
        ]),
    ...(report === null ? [] : [`  ${style.green('snapshot proven')}: ${proofText(report)}`]),
    ...warningLines(report, style),
    snapshot === null
      ? '  no snapshot was left beside the database'
      : `  snapshot ${snapshot} stays beside the database; \`--keep N\` removes older ones, \`--no-local\` leaves none`,
    result.readBack
      ? `  repository: ${style.green('every byte was read back')}`
      : '  repository: every object is there with its size; `stillpoint backup verify latest` reads them',
    ...(pruned === null
      ? []
      : [`  ${count(pruned.removed.length, 'backup')} removed, ${pruned.kept.length} kept`]),
    `  ${duration(ms)}`,
  ];
}

function defineLists(command: Command, cli: Cli): void {
  addFrom(subcommand(command, 'list', 'list the backups in a repository', {}))
    .addHelpText('after', examples('backup list --from /mnt/backups'))
    .action(async (given: Given) => {
      const list = await listBackups(fromOf(given));
      cli.output.result(listDocument(list), (style) => describeList(list, style));
    });
  addFrom(subcommand(command, 'show', 'show what a backup is', BACKUP))
    .addHelpText('after', examples('backup show latest --from /mnt/backups'))
    .action(async (backup: string, given: Given) => {
      const summary = await showBackup(backup, fromOf(given));
      cli.output.result(summary, (style) => describeBackup(summary, style));
    });
}

/** The usual repository has one store: its backups then stand at the top, and programs need not look for them. */
function listDocument({
  stores,
}: BackupList): BackupList | (Omit<StoreList, 'storeId'> & { readonly storeId: string | null }) {
  if (stores.length > 1) return { stores };
  return stores[0] ?? { storeId: null, name: null, backups: [] };
}

function describeList({ stores }: BackupList, style: Style): string[] {
  return stores.length === 0 ? ['no backups yet'] : stores.flatMap((store) => describeStore(store, style));
}

const pinText = ({ pinned, fleetBackups }: StoreList['backups'][number]): string =>
  fleetBackups.length > 0 ? `pinned by ${fleetBackups.map(visible).join(', ')}` : pinned ? 'pinned' : '';

function describeStore({ storeId, name, backups }: StoreList, style: Style): string[] {
  const rows = backups.map((backup) => [
    backup.backupId,
    time(backup.createdAtMs),
    visible(backup.engine ?? '-'),
    backup.files === null ? '-' : number(backup.files),
    backup.totalBytes === null ? '-' : size(backup.totalBytes),
    backup.verifiedAtMs === null ? '-' : time(backup.verifiedAtMs),
    pinText(backup),
    visible(backup.problem ?? (backup.damaged ? 'damaged' : lesserLevel(backup))),
  ]);
  const [head = '', ...lines] = table(
    [['BACKUP', 'CREATED', 'ENGINE', 'FILES', 'SIZE', 'VERIFIED', '', ''], ...rows],
    [3, 4],
  );
  return [
    `store ${storeId}  ${visible(name ?? '-')}`,
    ...(backups.length === 0 ? ['no backup yet'] : [style.dim(head)]),
    ...lines.map((line, i) => {
      const { problem, damaged } = backups[i]!;
      return problem === null && !damaged ? line : style.red(line);
    }),
  ];
}

const lesserLevel = ({ level }: BackupSummary): string =>
  level === null || level === 'full' ? '' : `proven at level ${level}`;

function describeBackup(summary: BackupSummary & { readonly storeId: string }, style: Style): string[] {
  const { backupId, storeId, createdAtMs, engine, files, totalBytes, storedBytes, tool } = summary;
  return [
    `${style.bold(backupId)}  ${visible(engine ?? '-')}, made ${time(createdAtMs)} by ${visible(tool ?? '-')}`,
    `  store ${storeId}`,
    `  ${count(files ?? 0, 'file')}, ${size(totalBytes ?? 0)}; ${size(storedBytes ?? 0)} stored`,
  ];
}

const otherStoreFlag = new Flags(openBackupOptions.fields, ['allowOtherStore']);
const restoreFlags = new Flags(restoreBackupOptions.fields, ['into', 'level', 'rewriteManifest']);

interface RestoreOptions extends Given {
  readonly inPlace?: string;
}

const RESTORE_NOTE = `
A new machine needs nothing but the repository. A restore in place needs the database closed. What it
replaces is kept for \`stillpoint undo\`.`;

function defineRestore(command: Command, cli: Cli): void {
  const restore = addFrom(
    subcommand(command, 'restore', 'restore a backup into a new folder, or in place', BACKUP),
  );
  restoreFlags.addTo(restore, '', {
    into: (option) => option.conflicts('inPlace'),
    // What is restored in place is always proven in full.
    level: (option) => option.conflicts('inPlace').default(undefined, 'full'),
  });
  restore.addOption(
    new Option('--in-place <dir>', 'replace the files of this data directory').argParser(nonEmpty),
  );
  otherStoreFlag.addTo(restore);
  restore
    .addHelpText(
      'after',
      `${paragraph(RESTORE_NOTE)}\n${examples(
        'backup restore latest --from /mnt/backups --into ./data',
        'backup restore latest --from /mnt/backups --in-place ./data',
      )}`,
    )
    .action(async (backup: string, options: RestoreOptions) => {
      const { into, ...how } = restoreFlags.read(options);
      if (into !== undefined) return restoreInto(cli, backup, { ...fromOf(options), ...how, into });
      if (options.inPlace !== undefined) return restoreInPlace(cli, backup, options.inPlace, options, how);
      throw new StillpointError('INVALID_REQUEST', 'where to is missing: --into <dir> or --in-place <dir>', {
        hint: 'Run `stillpoint backup restore --help`.',
      });
    });
}

async function restoreInto(cli: Cli, backup: string, options: RestoreBackupOptions): Promise<void> {
  const { report, ...restored } = await cli.watched((signal, progress) =>
    restoreBackup(backup, { ...options, signal, onProgress: shown(progress) }),
  );
  cli.output.result({ ...restored, verdict: report.verdict }, (style) => [
    `${style.bold(restored.backupId)} restored into ${visible(restored.into)}`,
    `  ${count(restored.files, 'file')}, ${size(restored.bytes)}; ${style.green('proven')}: ${proofText(report)}`,
    ...warningLines(report, style),
  ]);
}

async function restoreInPlace(
  cli: Cli,
  backup: string,
  dir: string,
  options: RestoreOptions,
  how: Omit<StartRestoreOptions, 'source'>,
): Promise<void> {
  if ((await commandEnvironment.fs.inspect(resolve(dir))) === undefined) {
    throw new StillpointError('NOT_FOUND', `no such data directory: ${dir}`, {
      path: dir,
      hint: 'Nothing is there to be replaced. To restore into a new folder use `--into` instead of `--in-place`.',
    });
  }
  const { backupId, storeId, source } = await openBackup(backup, {
    ...fromOf(options),
    ...otherStoreFlag.read(options),
    dataDir: dir,
  });
  const { into, files, bytes, undo, report } = await restoreFrom(cli, dir, async () => source, how);
  const verdict = report?.verdict ?? null;
  cli.output.result({ backupId, storeId, into, files, bytes, undo, verdict }, (style) => [
    `${style.bold(backupId)} restored in place: ${visible(into)}`,
    `  ${count(files, 'file')}, ${size(bytes)}${report === null ? '' : `; ${style.green('proven')}: ${proofText(report)}`}`,
    ...warningLines(report, style),
    ...describeUndo(into, undo),
  ]);
}
