import { sep } from 'node:path';
import { type Argument, type Command, CommanderError } from 'commander';
import { nodeFileSystem } from '../env/node-file-system.ts';
import type { Terminal } from './terminal.ts';

/** The data directory that is meant where a command line names none. */
export const VARIABLE = 'STILLPOINT_DATA_DIR';

/** What the operand of a command is called whose place the variable can take. */
export const DATA_DIR = { '<dir>': "the database's data directory" };
export const PROVEN_PATH = { '<path>': 'a data directory, or a snapshot as in `show`' };

/** The variable takes the place of the only operand of a command where that is a data directory. */
export function takeDataDir(program: Command, { [VARIABLE]: value }: Terminal['env']): void {
  if (value === undefined || value === '') return;
  for (const command of program.commands) {
    takeDataDir(command, { [VARIABLE]: value });
    const operand = dataDirOf(command);
    operand?.argOptional().default(value);
  }
}

/**
 * The variable takes the place of `--data-dir` where an operand is no path: `show latest`. What lies at a path needs no data
 * directory.
 */
export function takeDataDirFlag(program: Command, { [VARIABLE]: value }: Terminal['env']): void {
  if (value === undefined || value === '') return;
  program.hook('preAction', async (_, command) => {
    const takesFlag = command.options.some(({ long }) => long === '--data-dir');
    if (!takesFlag || command.getOptionValue('dataDir') !== undefined) return;
    for (const operand of command.args) {
      if (operand.includes(sep) || (await nodeFileSystem.inspect(operand)) !== undefined) return;
    }
    if (command.args.length > 0) command.setOptionValueWithSource('dataDir', value, 'env');
  });
}

/** The hint for a command line without its data directory. */
export function missingDataDir(error: unknown, command: Command | undefined): string | undefined {
  const isMissing = error instanceof CommanderError && error.code === 'commander.missingArgument';
  if (!isMissing || command === undefined || dataDirOf(command) === undefined) return undefined;
  return `Name the data directory, or set ${VARIABLE}.`;
}

/** The data directory that a command line named, if it named one. */
export function givenDataDir(command: Command | undefined): string | undefined {
  const flag: unknown = command?.getOptionValue('dataDir');
  const place = command && dataDirOf(command);
  const operand =
    place?.description === PROVEN_PATH['<path>'] ? undefined : place && command?.processedArgs[0];
  return [flag, operand].find((value) => typeof value === 'string');
}

function dataDirOf({ registeredArguments }: Command): Argument | undefined {
  const [operand, ...others] = registeredArguments;
  const isDataDir = /^(the database's|a) data directory\b/.test(operand?.description ?? '');
  return isDataDir && others.length === 0 ? operand : undefined;
}
