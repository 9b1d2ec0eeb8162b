import { userInfo } from 'node:os';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { nodeFileSystem } from '../../env/node-file-system.ts';
import { StillpointError } from '../../errors.ts';
import type { Cli } from '../cli.ts';
import { examples, paragraph } from '../help-text.ts';
import { allNonEmpty, nonEmpty } from '../non-empty.ts';
import { addOutputFlags } from '../subcommand.ts';
import { visible } from '../text.ts';
import { calendarOf } from '../unattended/calendar.ts';
import { containerFiles } from '../unattended/container.ts';
import { cronFiles } from '../unattended/cron.ts';
import { launchdFiles } from '../unattended/launchd.ts';
import { refuseUnwritable, subjectOf } from '../unattended/subject.ts';
import {
  SYSTEMS,
  type System,
  type SystemFiles,
  shellWord,
  type Unattended,
} from '../unattended/system-files.ts';
import { systemdFiles } from '../unattended/systemd.ts';
import { compared, marked, refuseForeign, type WrittenFile, write } from '../unattended/written-file.ts';

const MAKERS: Readonly<Record<System, (what: Unattended) => SystemFiles>> = {
  systemd: systemdFiles,
  launchd: launchdFiles,
  cron: cronFiles,
  container: containerFiles,
};

interface Options {
  readonly system: System;
  readonly at?: string;
  readonly name?: string;
  readonly user?: string;
  readonly environmentFile?: string;
}

interface InstallOptions extends Options {
  readonly out?: string;
  readonly force?: boolean;
  readonly dryRun?: boolean;
}

const NOTE = `
What stands behind \`--\` is the command that runs: \`serve\` and \`schedule run\` all the time, each other
one at the times of --at. It is parsed now, and the folders that it names must be there: the files
let it write to these alone. Root gets files for the whole machine, another user files for himself. Secrets
belong into --environment-file or into files that the command line names.`;

const EXAMPLES = [
  'service print -- serve ./data --settings stillpoint.json',
  'service install --user db -- schedule run /etc/stillpoint.json',
  'service install --at "0 3 * * *" -- backup run ./data --to s3://backups/orders',
  'service print --system container -- schedule run ./stillpoint.json',
];

export function define(command: Command, cli: Cli): void {
  const print = sub(command, 'print', 'print the files that have the system run a command');
  print.action(async (line: string[], options: Options) => {
    const { what, files, folder } = await made(command, line, options);
    const all = files.map((file) => ({ path: `${folder ?? ''}/${file.name}`, text: marked(file) }));
    cli.output.result({ system: options.system, name: what.name, files: all }, (style) =>
      all.length === 1
        ? [all[0]!.text.trimEnd()]
        : all.flatMap(({ path, text }) => [style.dim(`# ${visible(path)}`), text]),
    );
  });
  const install = sub(command, 'install', 'write these files where they belong, and say what to do next')
    .option('--out <dir>', 'write them into this folder', nonEmpty)
    .option('--dry-run', 'only say what would be written')
    .option('--force', 'replace files that somebody else wrote or changed');
  install.action((line: string[], options: InstallOptions) => installed(command, cli, line, options));
}

function sub(parent: Command, name: string, summary: string): Command {
  const command = parent
    .command(name)
    .summary(summary)
    .description(`${summary[0]!.toUpperCase()}${summary.slice(1)}.`)
    .argument('<command...>', 'behind --: a command with its operands and options', allNonEmpty)
    .addOption(
      new Option('--system <system>', 'what runs it')
        .choices(SYSTEMS)
        .default(process.platform === 'darwin' ? 'launchd' : 'systemd'),
    )
    .option('--at <cron>', 'when, in local time: five fields of cron, such as "0 3 * * *"', nonEmpty)
    .option('--name <name>', 'what it is called (default: by the command and its data)', nameOf)
    .option('--user <user>', 'who runs it (default: who runs this; container: UID:GID)', userOf)
    .option('--environment-file <file>', 'a file with variables for it, one NAME=value a line', nonEmpty)
    .addHelpText('after', `${paragraph(NOTE)}\n${examples(...EXAMPLES)}`);
  return addOutputFlags(command);
}

function nameOf(text: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$/.test(text)) return text;
  throw new StillpointError('INVALID_REQUEST', `${JSON.stringify(text)} is no name of a service`, {
    hint: 'Use letters, digits, "-" and "_", at most 100: cron reads no other file.',
  });
}

function userOf(text: string): string {
  if (/^([A-Za-z_][A-Za-z0-9_.-]*\$?|\d+(:\d+)?)$/.test(text)) return text;
  throw new StillpointError('INVALID_REQUEST', `${JSON.stringify(text)} is no name of a user`, {
    hint: 'Use a name as `useradd` takes it, or a number.',
  });
}

async function made(
  command: Command,
  line: readonly string[],
  { system, at, name, user, environmentFile: envFile }: Options,
): Promise<SystemFiles & { readonly what: Unattended }> {
  const [first] = line;
  if (SYSTEMS.some((one) => one === first))
    throw new StillpointError('INVALID_REQUEST', `\`${first}\` is no command`, {
      hint: `For the files of ${first} write \`--system ${first}\`; the command that runs follows \`--\`.`,
    });
  const subject = await subjectOf(command.parent!, line, nodeFileSystem);
  if (envFile !== undefined) refuseUnwritable(envFile);
  const calendar = at === undefined ? undefined : calendarOf(at);
  if (subject.isLasting !== (calendar === undefined)) {
    const [message, hint] = subject.isLasting
      ? [`\`${line[0]}\` runs all the time`, 'Leave `--at` out.']
      : [`it is not said when \`${line[0]}\` runs`, 'Say it with `--at "0 3 * * *"`.'];
    throw new StillpointError('INVALID_REQUEST', message, { hint });
  }
  const { username, uid, gid, homedir } = userInfo();
  const what: Unattended = {
    subject,
    calendar,
    name: name ?? `stillpoint-${subject.slug.replaceAll(/[^A-Za-z0-9]+/g, '-').replace(/^-|-$/g, '')}`,
    program: [process.execPath, resolve(process.argv[1]!)],
    user: user ?? username,
    ...{ uid, gid, home: homedir, isOfMachine: uid === 0 },
    envFile: envFile === undefined ? undefined : resolve(envFile),
  };
  return { what, ...MAKERS[system](what) };
}

async function installed(
  command: Command,
  cli: Cli,
  line: readonly string[],
  options: InstallOptions,
): Promise<void> {
  const { system, out, force = false, dryRun = false } = options;
  const { what, files, folder: usual, next: usualNext } = await made(command, line, options);
  const folder = out === undefined ? usual : resolve(out);
  const next = folder === usual || system === 'container' ? usualNext : [];
  if (folder === undefined) {
    throw new StillpointError('INVALID_REQUEST', "a user's crontab is no file to write into", {
      hint: 'Run `stillpoint service print` with the same options, and add the line with `crontab -e`.',
    });
  }
  const all: WrittenFile[] = [];
  for (const file of files) all.push(await compared(nodeFileSystem, folder, file));
  for (const { path, text } of dryRun ? [] : all)
    for (const told of [
      path,
      ...text
        .trimEnd()
        .split('\n')
        .map((row) => `  ${row}`),
    ])
      cli.output.note(told);
  if (!force) refuseForeign(all);
  if (!dryRun) await write(nodeFileSystem, all);
  const document = {
    ...{ system, name: what.name, dryRun, next },
    files: all.map(({ path, text, state }) => ({ path, state, text })),
  };
  cli.output.result(document, (style) => [
    ...all.map(({ path, state }) => `${shellWord(path)}: ${OUTCOMES[state][dryRun ? 1 : 0]}`),
    ...(next.length === 0
      ? []
      : [style.dim(dryRun ? 'then:' : 'now run:'), ...next.map((row) => `  ${row}`)]),
  ]);
}

const OUTCOMES: Readonly<Record<WrittenFile['state'], readonly [string, string]>> = {
  new: ['written', 'would be written'],
  same: ['as it was', 'would stay as it is'],
  ours: ['replaced', 'would be replaced'],
  foreign: ['replaced', 'would be replaced, though somebody else wrote it'],
};
