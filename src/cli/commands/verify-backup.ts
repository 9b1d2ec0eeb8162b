import { type Command, Option } from 'commander';
import {
  type BackupsReport,
  type VerifyAllBackupsOptions,
  verifyAllBackups,
} from '../../backup/verify-all-backups.ts';
import { verifyBackup, verifyBackupOptions } from '../../backup/verify-backup.ts';
import { isDamaged } from '../../engine/report.ts';
import { StillpointError } from '../../errors.ts';
import type { Cli } from '../cli.ts';
import { Flags, fromVariable, type Given } from '../flags.ts';
import { examples } from '../help-text.ts';
import { findingLine, verdictText } from '../report-text.ts';
import { addFrom, fromOf, shown, unrecordedLine } from '../repository-flags.ts';
import type { Style } from '../style.ts';
import { subcommand } from '../subcommand.ts';
import { count, duration, size } from '../text.ts';

const DAMAGED = 3;
const UNREAD = 7;

const verifyFlags = new Flags(verifyBackupOptions.fields, ['level', 'scratch', 'dataDir', 'jobs']);

interface Options extends Given {
  readonly all?: true;
}

export function defineVerify(command: Command, cli: Cli): void {
  const verify = addFrom(
    subcommand(command, 'verify', 'read a backup, or all, and report what is wrong', {
      '[backup]': '"latest" or the id of a backup',
    }),
  );
  verifyFlags.addTo(verify, '', { jobs: fromVariable });
  verify
    .addOption(
      new Option('--all', 'all backups of a store; an object that several share is read once').conflicts([
        'scratch',
        'dataDir',
      ]),
    )
    .addHelpText(
      'after',
      examples(
        'backup verify latest --from /mnt/backups',
        'backup verify latest --from /mnt/backups --level full --scratch /var/tmp',
        'backup verify --all --from /mnt/backups',
      ),
    )
    .action(async (backup: string | undefined, options: Options) => {
      if ((backup === undefined) !== (options.all === true)) {
        throw new StillpointError(
          'INVALID_REQUEST',
          backup === undefined ? 'the backup is missing' : `${backup} and --all exclude each other`,
          { hint: 'Name one backup (`latest`, or an id), or add --all for all of them.' },
        );
      }
      return backup === undefined ? verifyEvery(cli, options) : verifyOne(cli, backup, options);
    });
}

async function verifyOne(cli: Cli, backup: string, given: Given): Promise<void> {
  const report = await cli.watched((signal, progress) =>
    verifyBackup(backup, {
      ...fromOf(given),
      ...verifyFlags.read(given),
      signal,
      onProgress: shown(progress),
    }),
  );
  cli.output.result(report, (style) => [
    ...report.findings.map((finding) => findingLine(finding, style)),
    `${report.backupId}: ${verdictText({ ...report, level: 'full' }, style)}  ${style.dim(`(${report.engine}, level ${report.level})`)}`,
    `  ${count(report.counts.files, 'file')}, ${size(report.counts.bytes)} in ${duration(msOf(report.steps))}`,
    ...unrecordedLine(verifyFlags.read(given).dataDir, style),
  ]);
  if (report.unrecorded !== null) noteUnrecorded(cli, report.unrecorded);
  if (!report.ok) cli.exitCode = isDamaged(report) ? DAMAGED : UNREAD;
}

const msOf = (steps: readonly { readonly durationMs: number }[]): number =>
  steps.reduce((sum, { durationMs }) => sum + durationMs, 0);

const noteUnrecorded = (cli: Cli, why: string): void =>
  cli.output.note(`the damage is not on record, and the next backup may use it again: ${why}`);

async function verifyEvery(cli: Cli, options: Options): Promise<void> {
  const { level } = verifyFlags.read(options);
  const chosen: VerifyAllBackupsOptions = { ...fromOf(options), level: levelOfAll(level) };
  const report = await cli.watched((signal, progress) =>
    verifyAllBackups({ ...chosen, signal, onProgress: shown(progress) }),
  );
  cli.output.result(report, (style) => describeAll(report, style));
  if (report.unrecorded !== null) noteUnrecorded(cli, report.unrecorded);
  if (!report.ok) cli.exitCode = report.totals.damaged > 0 ? DAMAGED : UNREAD;
}

function levelOfAll(level: 'manifest' | 'data' | 'full' | undefined): 'manifest' | 'data' {
  if (level !== 'full') return level ?? 'data';
  throw new StillpointError('INVALID_REQUEST', '--all reads all backups and restores none: no --level full', {
    hint: 'Prove one backup in full: `stillpoint backup verify latest --level full`.',
  });
}

function describeAll({ backups, totals, level, storeId }: BackupsReport, style: Style): string[] {
  const { damaged, objects, readBytes } = totals;
  const bad = damaged === 0 ? '' : `, ${style.red(`${damaged} of them damaged`)}`;
  return [
    ...backups.flatMap(({ backupId, verdict, findings }) => [
      `${backupId}: ${verdict === 'faithful' ? style.green(verdict) : verdict}`,
      ...findings.map((finding) => `  ${findingLine(finding, style)}`),
    ]),
    `store ${storeId}: ${count(totals.backups, 'backup')}${bad}  ${style.dim(`(level ${level})`)}`,
    `  ${count(objects, 'object')}, ${size(readBytes)} read`,
  ];
}
