import type { Command } from 'commander';
import { type DrillResult, drillBackup, drillBackupOptions } from '../../backup/drill-backup.ts';
import { deleteBackup, pinBackup, unpinBackup } from '../../backup/keep-backups.ts';
import { type PruneBackupsResult, pruneBackups, pruneBackupsOptions } from '../../backup/prune-backups.ts';
import { reconcileBackups, reconcileOptions } from '../../backup/reconcile-backups.ts';
import type { Cli } from '../cli.ts';
import { Flags, fromVariable, type Given } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { proofText, verdictText } from '../report-text.ts';
import { addFrom, BACKUP, fromOf, shown, unrecordedLine } from '../repository-flags.ts';
import type { Style } from '../style.ts';
import { subcommand } from '../subcommand.ts';
import { count, duration, size, table, visible } from '../text.ts';

const UNREAD = 7;

/** The commands of `backup` that decide what stays, and try whether it is worth it. */
export function defineKeeping(command: Command, cli: Cli): void {
  definePrune(command, cli);
  definePins(command, cli);
  defineDelete(command, cli);
  defineDrill(command, cli);
  defineReconcile(command, cli);
}

export const RETENTION = ['keepLast', 'keepWithinMs', 'keepDaily', 'keepWeekly', 'keepMonthly'] as const;
const pruneFlags = new Flags(pruneBackupsOptions.fields, [...RETENTION, 'dryRun', 'dataDir', 'jobs']);

const PRUNE_NOTE = `
A backup stays if any rule keeps it. Pinned ones, the newest, the newest good one, the newest of those proven
most thoroughly and the newest verified one always stay; damaged ones count for no rule. Data that no backup needs any more is listed first, and
deleted by a prune that comes 48 hours later.`;

function definePrune(command: Command, cli: Cli): void {
  const prune = addFrom(subcommand(command, 'prune', 'remove backups that no rule keeps', {}));
  pruneFlags.addTo(prune, '', { jobs: fromVariable });
  prune
    .addHelpText(
      'after',
      `${paragraph(PRUNE_NOTE)}\n${examples(
        'backup prune --from /mnt/backups --keep-daily 7 --keep-weekly 4 --dry-run',
        'backup prune --from /mnt/backups --keep-last 10 --keep-within 30d',
      )}`,
    )
    .action(async (given: Given) => {
      const result = await cli.watched((signal, progress) =>
        pruneBackups({ ...fromOf(given), ...pruneFlags.read(given), signal, onProgress: shown(progress) }),
      );
      cli.output.result(result, (style) => describePrune(result, style));
      if (result.notSwept !== null) {
        cli.output.note(`no data was deleted: ${result.notSwept}`);
      }
    });
}

function describePrune(result: PruneBackupsResult, style: Style): string[] {
  const { kept, removed, dryRun, objectsCondemned, objectsDeleted } = result;
  const rows = [
    ...kept.map(({ backupId, reasons }) => [backupId, 'stays', reasons.join(', ')]),
    ...removed.map((backupId) => [backupId, dryRun ? 'would go' : 'removed', '']),
  ].sort(([a = ''], [b = '']) => (a < b ? -1 : 1));
  const lines = table(rows, []);
  const unneeded = count(objectsCondemned, 'object');
  return [
    ...lines.map((line, i) => (rows[i]![1] === 'stays' ? line : style.yellow(line))),
    dryRun
      ? `nothing was changed; ${unneeded} older than 48 hours ${objectsCondemned === 1 ? 'is' : 'are'} not needed now`
      : `${count(objectsDeleted, 'object')} deleted; ${unneeded} listed, which a prune in 48 hours or later deletes`,
  ];
}

function definePins(command: Command, cli: Cli): void {
  const example = (verb: string) => examples(`backup ${verb} 01KXXXXXXXXXXXXXXXXXXXXXXX --from /mnt/backups`);
  addFrom(subcommand(command, 'pin', 'keep a backup from every prune', BACKUP))
    .addHelpText('after', example('pin'))
    .action(async (backup: string, given: Given) => {
      const pinned = await pinBackup(backup, fromOf(given));
      cli.output.result(pinned, (style) => [
        `${style.bold(pinned.backupId)}  pinned: it stays until you unpin it`,
      ]);
    });
  addFrom(subcommand(command, 'unpin', 'let prunes remove a backup again', BACKUP))
    .addHelpText('after', example('unpin'))
    .action(async (backup: string, given: Given) => {
      const unpinned = await unpinBackup(backup, fromOf(given));
      cli.output.result(unpinned, (style) => [
        `${style.bold(unpinned.backupId)}  not pinned`,
        ...unpinned.fleetBackups.map((id) =>
          style.yellow(
            `it is part of the fleet backup ${visible(id)}, which a prune may now make incomplete`,
          ),
        ),
      ]);
    });
}

function defineDelete(command: Command, cli: Cli): void {
  addFrom(subcommand(command, 'delete', 'remove one backup', BACKUP))
    .addHelpText('after', examples('backup delete 01KXXXXXXXXXXXXXXXXXXXXXXX --from /mnt/backups'))
    .action(async (backup: string, given: Given) => {
      const deleted = await deleteBackup(backup, fromOf(given));
      const what = deleted.existed
        ? 'deleted; later prunes delete its data'
        : 'was not there; from now on nobody expects it';
      cli.output.result(deleted, (style) => [`${style.bold(deleted.backupId)}  ${what}`]);
    });
}

const drillFlags = new Flags(drillBackupOptions.fields, ['scratch', 'dataDir', 'jobs']);

function defineDrill(command: Command, cli: Cli): void {
  const drill = addFrom(
    subcommand(
      command,
      'drill',
      'restore a backup for a trial, prove and open it, and take the time',
      BACKUP,
    ),
  );
  drillFlags.addTo(drill, '', { jobs: fromVariable });
  drill
    .addHelpText('after', examples('backup drill latest --from /mnt/backups --scratch /var/tmp'))
    .action(async (backup: string, given: Given) => {
      const result = await cli.watched((signal, progress) =>
        drillBackup(backup, {
          ...fromOf(given),
          ...drillFlags.read(given),
          signal,
          onProgress: shown(progress),
        }),
      );
      const { report: _, ...document } = result;
      cli.output.result(document, (style) => [
        ...describeDrill(result, style),
        ...unrecordedLine(drillFlags.read(given).dataDir, style),
      ]);
      if (!result.report.ok) cli.exitCode = UNREAD;
    });
}

function describeDrill({ backupId, report, restoreMs, bytes, probe }: DrillResult, style: Style): string[] {
  const proof = report.ok
    ? `${style.green('proven')}: ${proofText(report)}`
    : verdictText({ ...report, level: 'full' }, style);
  return [
    `${style.bold(backupId)} restored in ${duration(restoreMs)}: ${size(bytes)}; ${proof}`,
    probe === null
      ? '  not opened: there is nothing here to open it with'
      : `  opened: ${JSON.stringify(probe)}`,
  ];
}

const reconcileFlags = new Flags(reconcileOptions.fields, ['jobs']);

function defineReconcile(command: Command, cli: Cli): void {
  const reconcile = addFrom(
    subcommand(command, 'reconcile', 'bring the records of a data directory in step with a repository', {
      '<dir>': "the database's data directory",
    }),
  );
  reconcileFlags.addTo(reconcile, '', { jobs: fromVariable });
  reconcile
    .addHelpText('after', examples('backup reconcile ./data --from /mnt/backups'))
    .action(async (dir: string, given: Given) => {
      const result = await reconcileBackups(dir, { ...fromOf(given), ...reconcileFlags.read(given) });
      const { adopted, lost, forgotten } = result;
      cli.output.result(result, (style) => [
        ...adopted.map((id) => `${id}  ${style.green('on record now')}`),
        ...forgotten.map((id) => `${id}  was deleted; it has no record any more`),
        ...lost.map((id) => `${id}  ${style.red('is lost: it is on record, and not in the repository')}`),
        ...(adopted.length + lost.length + forgotten.length === 0 ? ['the records are right'] : []),
      ]);
      if (lost.length > 0) cli.exitCode = LOST;
    });
}

const LOST = 3;
