import type { Command } from 'commander';
import { nonEmpty } from './non-empty.ts';

export const DESTINATION = { '<dest>': 'a folder (/path, folder:/path) or a bucket (s3://bucket/prefix)' };

/** A command of a command, as `init` is of `repo`. `operands` have what they are. */
export function subcommand(
  parent: Command,
  name: string,
  summary: string,
  operands: Readonly<Record<string, string>>,
): Command {
  const command = parent
    .command(name)
    .summary(summary)
    .description(`${summary[0]!.toUpperCase()}${summary.slice(1)}.`);
  for (const [operand, what] of Object.entries(operands)) command.argument(operand, what, nonEmpty);
  return addOutputFlags(command);
}

/** What every command has. */
export const addOutputFlags = (command: Command): Command =>
  command
    .option('--json', 'print one JSON document on stdout')
    .option('-q, --quiet', 'print nothing unless something is wrong');
