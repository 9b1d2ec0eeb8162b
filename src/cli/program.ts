import { Command, Help } from 'commander';
import { VERSION } from '../snapshot/version.ts';
import { Cli } from './cli.ts';
import {
  DATA_DIR,
  givenDataDir,
  missingDataDir,
  PROVEN_PATH,
  takeDataDir,
  takeDataDirFlag,
} from './data-dir-variable.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { paragraph } from './help-text.ts';
import { allNonEmpty, nonEmpty } from './non-empty.ts';
import { addOutputFlags } from './subcommand.ts';
import type { Terminal } from './terminal.ts';

/** Adds the options, the examples and the action to a command that has its name, arguments and `--json` already. */
export type Define = (command: Command, cli: Cli) => void;

interface Entry {
  readonly name: string;
  readonly summary: string;
  /** The operands with what they are. */
  readonly operands: Readonly<Record<string, string>>;
  /** The command's own module, with all that it needs: loaded only when the command line names it. */
  readonly load: () => Promise<{ readonly define: Define }>;
}

const SNAPSHOT = {
  '<snapshot>': 'a path (…/backup/latest too); with --data-dir also "latest", a name or an id',
};

const COMMANDS: readonly Entry[] = [
  {
    name: 'snapshot',
    summary: 'take a snapshot of a data directory, in use or not, and prove it',
    operands: DATA_DIR,
    load: () => import('./commands/snapshot.ts'),
  },
  {
    name: 'list',
    summary: 'list the snapshots of a data directory',
    operands: DATA_DIR,
    load: () => import('./commands/list.ts'),
  },
  {
    name: 'status',
    summary: 'say whether the data is safe: newest good snapshot, damage, age, space',
    operands: DATA_DIR,
    load: () => import('./commands/status.ts'),
  },
  {
    name: 'runs',
    summary: 'list what was done here: snapshots, restores, proofs, removals',
    operands: DATA_DIR,
    load: () => import('./commands/runs.ts'),
  },
  {
    name: 'show',
    summary: 'show what a snapshot is and which files it holds',
    operands: SNAPSHOT,
    load: () => import('./commands/show.ts'),
  },
  {
    name: 'diff',
    summary: 'say which files two snapshots have of each other',
    operands: { '<from>': SNAPSHOT['<snapshot>'], '<to>': 'as <from>' },
    load: () => import('./commands/diff.ts'),
  },
  {
    name: 'verify',
    summary: 'read a snapshot or a data directory and report all that is wrong with it',
    operands: PROVEN_PATH,
    load: () => import('./commands/verify.ts'),
  },
  {
    name: 'restore',
    summary: 'restore a snapshot into a new folder, or in place',
    operands: SNAPSHOT,
    load: () => import('./commands/restore.ts'),
  },
  {
    name: 'salvage',
    summary: 'write what a damaged database still says into a new one',
    operands: DATA_DIR,
    load: () => import('./commands/salvage.ts'),
  },
  {
    name: 'undo',
    summary: 'bring back what the last restore in place replaced',
    operands: DATA_DIR,
    load: () => import('./commands/undo.ts'),
  },
  {
    name: 'recover',
    summary: 'finish or take back an interrupted restore in place, and remove partial folders',
    operands: DATA_DIR,
    load: () => import('./commands/recover.ts'),
  },
  {
    name: 'prune',
    summary: 'remove all but the newest snapshots',
    operands: DATA_DIR,
    load: () => import('./commands/prune.ts'),
  },
  {
    name: 'delete',
    summary: 'remove one snapshot',
    operands: SNAPSHOT,
    load: () => import('./commands/delete.ts'),
  },
  {
    name: 'inspect',
    summary: 'print what is in one file: a log, a table, a manifest, …',
    operands: { '<file>': 'a file of a data directory or of a snapshot' },
    load: () => import('./commands/inspect.ts'),
  },
  {
    name: 'repo',
    summary: 'make or show a repository, which keeps backups off the machine',
    operands: {},
    load: () => import('./commands/repo.ts'),
  },
  {
    name: 'backup',
    summary: 'back up into a repository; list, verify and restore backups',
    operands: {},
    load: () => import('./commands/backup.ts'),
  },
  {
    name: 'jobs',
    summary: 'list the attempts to back up a data directory',
    operands: {},
    load: () => import('./commands/jobs.ts'),
  },
  {
    name: 'schedule',
    summary: 'back up, verify and drill by the plans of a settings file',
    operands: {},
    load: () => import('./commands/schedule.ts'),
  },
  {
    name: 'alerts',
    summary: 'try who is told when a plan of a settings file fails',
    operands: {},
    load: () => import('./commands/alerts.ts'),
  },
  {
    name: 'fleet',
    summary: 'back up many servers together: check, plan, run, status, verify, abort, download',
    operands: {},
    load: () => import('./commands/fleet.ts'),
  },
  {
    name: 'serve',
    summary: 'serve a database over HTTP, with snapshots and restores by RPC',
    operands: { '<dir>': "the database's data directory; it is made if it is missing" },
    load: () => import('./commands/serve.ts'),
  },
  {
    name: 'console',
    summary: 'show data directories, a repository or a fleet on a page in the browser',
    operands: { '[dir...]': 'data directories' },
    load: () => import('./commands/console.ts'),
  },
  {
    name: 'service',
    summary: 'have systemd, launchd, cron or a container run a command',
    operands: {},
    load: () => import('./commands/unattended.ts'),
  },
  {
    name: 'completion',
    summary: 'print a script that completes command lines in a shell',
    operands: {},
    load: () => import('./commands/completion.ts'),
  },
  {
    name: 'man',
    summary: 'print the manual page',
    operands: {},
    load: () => import('./commands/man.ts'),
  },
];

/** These tell of all other commands. */
const NEED_ALL = ['completion', 'man'];

const EVERY_COMMAND =
  'Every command has --help with examples, --json (one JSON document on stdout, everything else on stderr), and --quiet for timers: nothing is printed unless something is wrong. Where a data directory is left out, the variable STILLPOINT_DATA_DIR names it.';

/** Runs one command line (without the program's name); resolves to the exit code. Never rejects. */
export async function run(argv: readonly string[], terminal: Terminal): Promise<number> {
  const cli = new Cli(argv, terminal);
  let program: Command | undefined;
  try {
    program = await createProgram(argv, cli, terminal);
    await program.parseAsync(askedFor(argv), { from: 'user' });
    cli.output.end(cli.exitCode);
    return cli.exitCode;
  } catch (error) {
    const named = namedIn(argv, program?.commands);
    const command = named.reduce<Command | undefined>(
      (above, name) => above?.commands.find((child) => child.name() === name),
      program,
    );
    const hint = missingDataDir(error, command);
    const dataDir = givenDataDir(command);
    return cli.fail(error, `stillpoint ${[...named, '--help'].join(' ')}`, {
      ...(hint !== undefined && { hint }),
      ...(dataDir !== undefined && { dataDir }),
    });
  }
}

/** The command that a command line names, and the subcommand: `backup`, `list`. */
function namedIn(argv: readonly string[], commands: readonly Command[] = []): string[] {
  for (const [i, arg] of argv.entries()) {
    const command = commands.find((command) => command.name() === arg);
    if (command !== undefined) return [arg, ...namedIn(argv.slice(i + 1), command.commands)];
  }
  return [];
}

/** `help nothing` is told as `nothing` would be: an unknown command. Commander would print the general help. */
function askedFor(argv: readonly string[]): string[] {
  const [help, about] = argv.filter((arg) => !arg.startsWith('-'));
  const isUnknown = about !== undefined && about !== 'help' && !COMMANDS.some(({ name }) => name === about);
  return help === 'help' && isUnknown ? argv.filter((arg) => arg !== help) : [...argv];
}

async function createProgram(
  argv: readonly string[],
  cli: Cli,
  { stdout, stderr, env }: Terminal,
): Promise<Command> {
  const program = new Command('stillpoint')
    .description(
      'Consistent, checksummed and proven snapshots of a live data directory, and restores that can be undone.',
    )
    .version(VERSION, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .addHelpText('after', `${paragraph(EVERY_COMMAND)}\n${EXIT_CODES}`)
    .helpCommand('help [command]', 'print the help of a command')
    .configureHelp({ subcommandDescription: (command) => command.summary() || command.description() })
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      outputError: () => undefined, // thrown, and told by `Cli.fail`
    })
    .exitOverride();
  const needsAll = NEED_ALL.includes(argv.find((arg) => !arg.startsWith('-')) ?? '');
  for (const { name, summary, operands, load } of COMMANDS) {
    const command = program
      .command(name)
      .summary(summary)
      .description(`${summary[0]!.toUpperCase()}${summary.slice(1)}.`)
      .configureHelp({ subcommandDescription: Help.prototype.subcommandDescription });
    for (const [operand, what] of Object.entries(operands)) {
      if (/\.\.\.[>\]]$/.test(operand)) command.argument(operand, what, allNonEmpty);
      else command.argument(operand, what, nonEmpty);
    }
    if (needsAll || argv.includes(name)) (await load()).define(command, cli);
    addOutputFlags(command);
  }
  takeDataDir(program, env);
  takeDataDirFlag(program, env);
  return program;
}
