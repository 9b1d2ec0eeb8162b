import type { Command } from 'commander';
import { showJobOptions } from '../../backup/list-jobs.ts';
import { offsiteStanding, type RepositoryStanding } from '../../backup/repository-standings.ts';
import { type WholeStatus, wholeStatus } from '../../backup/status-advice.ts';
import { Snapshots } from '../../coordinator/snapshots.ts';
import { type SnapshotsStatus, type StatusOptions, statusOptions } from '../../coordinator/status.ts';
import type { KeptFolders } from '../../coordinator/status-findings.ts';
import { withDataDir } from '../../options/shell-word.ts';
import type { Cli } from '../cli.ts';
import { blockingEnvironment, commandEnvironment } from '../environment.ts';
import { Flags, fromVariable, type Given } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { refuseOther } from '../refuse-other.ts';
import type { Style } from '../style.ts';
import { age, count, duration, number, size, table, time, visible, wrapped } from '../text.ts';

const jobFlags = new Flags(showJobOptions.fields, ['jobs']);

const NOT_SAFE = 3;
const FOLDERS_SHOWN = 10;
/** Of a mail, too. */
const WIDTH = 80;
const NOTE =
  'Exits with 3 when a snapshot or the database itself is known to be damaged, no snapshot is good, the newest good one is older than --max-age, or a restore in place has not ended; and when the last backup, verification, drill or prune in a repository failed within 31 days and none succeeded there since. Reads no data: `verify` does.';

export function define(command: Command, cli: Cli): void {
  const flags = new Flags(statusOptions.fields, ['maxAgeMs']);
  flags.addTo(command);
  jobFlags.addTo(command, '', { jobs: fromVariable });
  command
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples('status ./data', 'status ./data --max-age 26h || mail -s "no good snapshot" ops')}`,
    )
    .action(async (dir: string, given: Given) => {
      // One moment for all ages.
      const nowMs = blockingEnvironment.clock.nowMs();
      const clock = { ...blockingEnvironment.clock, nowMs: () => nowMs };
      const snapshots = new Snapshots({ dataDir: dir, environment: { ...blockingEnvironment, clock } });
      const local = await snapshots.status(flags.read(given) as StatusOptions);
      if (local.total.count === 0) await refuseOther('status', dir);
      const about = { environment: commandEnvironment, ...jobFlags.read(given) };
      const offsite = await offsiteStanding(dir, about);
      const status = wholeStatus(local, offsite, dir, nowMs);
      cli.output.result(status, (style, columns = WIDTH) => describe(status, dir, nowMs, style, columns));
      if (!status.safe || status.failing.length > 0) cli.exitCode = NOT_SAFE;
    });
}

function describe(status: WholeStatus, dir: string, nowMs: number, style: Style, width: number): string[] {
  const { summary, safe, newestGood, oldestGood, damaged, oldestProof, total } = status;
  const moment: Moment = (ms) =>
    ms === null || ms === undefined ? 'none on record' : `${time(ms)}, ${age(nowMs - ms)} ago`;
  const facts = [
    ['last snapshot', moment(status.lastSuccessAtMs)],
    ['last failed snapshot', failureText(status.lastFailure, moment)],
    ...restores(status, moment),
    [
      'newest good',
      newestGood === null
        ? 'none'
        : `${newestGood.name}, ${moment(newestGood.createdAtMs)}, level ${newestGood.level}`,
    ],
    ['oldest good', oldestGood === null ? 'none' : `${oldestGood.name}, ${moment(oldestGood.createdAtMs)}`],
    [
      'oldest proof',
      oldestProof === null ? 'none on record' : `${oldestProof.name}, ${moment(oldestProof.verifiedAtMs)}`,
    ],
    ['snapshots', `${number(total.count)}, ${size(total.diskBytes)} on disk`],
    ...under(
      'damaged',
      damaged.map(({ name, damage }) => `${name}: ${damage ?? ''}`),
    ),
    ...listed('not read', status.unread),
    ...listed('not proven', status.unproven),
    ...under('undo folders', undoLines(status, nowMs, moment)),
    ['archives', kept(status.archives, nowMs)],
    ['exports', kept(status.exports, nowMs)],
    ...(status.next === null ? [] : [['database', `${size(status.next.databaseBytes)} on disk`]]),
    ['free disk', roomText(status)],
    ...(status.room.text === '' ? [] : [['disk lasts', status.room.text]]),
    ...backups(status.repositories, moment),
    ...status.advice.flatMap(({ what, lines }) => under(what, lines)),
  ];
  const indent = Math.max(...facts.map(([name = '']) => name.length)) + 2;
  const paragraph = (text: string, columns: number) => wrapped(visible(text).split(' '), ' ', columns);
  // A command that was cut into lines could not be pasted.
  const linesOf = (value: string) =>
    value.startsWith('stillpoint ') ? [visible(value)] : paragraph(value, width - indent);
  const rows = facts.flatMap(([name = '', value = '']) =>
    linesOf(value).map((line, i) => [i === 0 ? name : '', line]),
  );
  return [
    ...paragraph(withDataDir(summary, dir), width).map((line) => style.bold(safe ? line : style.red(line))),
    '',
    ...table(rows),
  ];
}

type Moment = (ms: number | null | undefined) => string;

function failureText(failure: SnapshotsStatus['lastFailure'], moment: Moment): string {
  if (failure === null) return 'none on record';
  const { atMs, code, reason } = failure;
  const when = atMs === null ? 'when it ended is not on record' : moment(atMs);
  return `${when}: ${code ?? ''} ${reason ?? ''}`.trimEnd();
}

function restores({ lastRestore, lastRestoreFailure }: SnapshotsStatus, moment: Moment): string[][] {
  const { name, tookMs, atMs, undoAtMs = null } = lastRestore ?? {};
  const undone = undoAtMs === null ? '' : `; an undo after it: ${moment(undoAtMs)}`;
  const text =
    lastRestore === null ? 'none on record' : `${name}, ${moment(atMs)}, took ${duration(tookMs!)}${undone}`;
  const failed =
    lastRestoreFailure === null
      ? []
      : [['', `the last attempt failed: ${failureText(lastRestoreFailure, moment)}`]];
  return [['last restore', text], ...failed];
}

/** The next snapshot may need less: what can be cloned takes no space. */
function roomText({ freeBytes, next }: SnapshotsStatus): string {
  if (next === null) return size(freeBytes);
  const fits = next.fits ? 'enough for the next snapshot' : 'the next snapshot may not fit';
  return `${size(freeBytes)}: ${fits}, which needs up to ${size(next.neededBytes)}`;
}

/** Of each repository its address, how old its newest backup is, and what failed last. */
function backups(repositories: readonly RepositoryStanding[] | null, moment: Moment): string[][] {
  if (repositories === null) return [['backups', 'not known']];
  const lines = repositories.flatMap(
    ({ repositoryUrl, sharesDisk, newestBackup, lastVerified, lastDrill, failing }) => [
      `${repositoryUrl ?? 'a repository'}: ${newestBackup === null ? 'no backup on record' : `${newestBackup.backupId}, ${moment(newestBackup.createdAtMs)}`}`,
      ...(sharesDisk ? ['on the disk of the data: if that fails, both are lost'] : []),
      ...(newestBackup === null
        ? []
        : [`last read back: ${readBack(lastVerified, newestBackup.backupId, moment)}`]),
      ...(lastDrill === null
        ? []
        : [`last drill: ${duration(lastDrill.tookMs)} with all its checks, ${moment(lastDrill.atMs)}`]),
      ...failing.map(
        ({ kind, atMs, code, reason }) =>
          `last ${kind} failed: ${moment(atMs)}: ${code ?? ''} ${reason ?? ''}`,
      ),
    ],
  );
  return under('backups', lines);
}

function readBack(last: RepositoryStanding['lastVerified'], newest: string, moment: Moment): string {
  if (last === null) return 'not on record here; `backup list` asks the repository';
  const which = last.backupId === newest ? 'this one' : (last.backupId ?? 'another one');
  return `${which}, ${moment(last.atMs)}`;
}

/** One line each, the name before the first. */
const under = (name: string, lines: readonly string[]): string[][] =>
  lines.length === 0 ? [[name, 'none']] : lines.map((line, i) => [i === 0 ? name : '', line]);

const listed = (what: string, names: readonly string[]): string[][] =>
  names.length === 0 ? [] : [[what, names.join(', ')]];

function undoLines({ undo, undoFolders }: SnapshotsStatus, nowMs: number, moment: Moment): string[] {
  const shown = undoFolders.slice(-FOLDERS_SHOWN).toReversed();
  return [
    kept(undo, nowMs),
    ...shown.map(({ name, createdAtMs, diskBytes, mayHoldWrites, damaged }) =>
      [
        `${name}: replaced ${moment(createdAtMs)}`,
        size(diskBytes),
        ...(damaged ? ['damaged'] : []),
        ...(mayHoldWrites ? ['may hold writes that no snapshot has'] : []),
      ].join(', '),
    ),
  ];
}

function kept({ count: folders, diskBytes, oldestAtMs, newestAtMs }: KeptFolders, nowMs: number): string {
  if (folders === 0 || oldestAtMs === null || newestAtMs === null) return 'none';
  const ages =
    folders === 1
      ? `${age(nowMs - newestAtMs)} old`
      : `${age(nowMs - newestAtMs)} to ${age(nowMs - oldestAtMs)} old`;
  return `${count(folders, 'folder')}, ${size(diskBytes)}, ${ages}`;
}
