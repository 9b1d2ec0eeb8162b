import type { Command } from 'commander';

/** What the commands, operands and options are: for the completion of shells and the manual page. */

export interface DescribedCommand {
  /** As it is written: `backup run`; empty for the program itself. */
  readonly name: string;
  readonly summary: string;
  readonly operands: readonly {
    readonly name: string;
    readonly description: string;
    readonly required: boolean;
  }[];
  readonly options: readonly DescribedOption[];
  readonly commands: readonly DescribedCommand[];
}

export interface DescribedOption {
  /** `--level <level>`, with the short form in front where there is one. */
  readonly flags: string;
  readonly long: string;
  readonly short: string | undefined;
  readonly description: string;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
  readonly fallback: string | undefined;
}

const HELP: DescribedOption = {
  ...{ flags: '-h, --help', long: '--help', short: '-h', description: 'print help' },
  ...{ takesValue: false, choices: [], fallback: undefined },
};

/** REQUIRES: every command has been defined. */
export function describeCommand(command: Command, path: readonly string[] = []): DescribedCommand {
  return {
    name: path.join(' '),
    summary: command.summary() || command.description(),
    operands: command.registeredArguments.map((argument) => ({
      name: argument.name(),
      description: argument.description,
      required: argument.required,
    })),
    options: [
      ...command.options
        .filter(({ hidden }) => !hidden)
        .map((option) => ({
          flags: option.flags,
          long: option.long ?? option.flags,
          short: option.short,
          description: option.description,
          takesValue: option.required || option.optional,
          choices: option.argChoices ?? [],
          fallback: typeof option.defaultValue === 'string' ? option.defaultValue : undefined,
        })),
      HELP,
    ],
    commands: command.commands.map((child) => describeCommand(child, [...path, child.name()])),
  };
}

/** A command and all below it. */
export const allOf = (command: DescribedCommand): DescribedCommand[] => [
  command,
  ...command.commands.flatMap(allOf),
];
