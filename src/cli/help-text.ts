import { wrapped } from './text.ts';

/** Commander wraps its own text at 80 columns. */
const HELP_WIDTH = 78;

/** Text below the help of a command, in lines that fit most terminals, however it is broken here. */
export const paragraph = (text: string): string =>
  `\n${wrapped(text.trim().split(/\s+/), ' ', HELP_WIDTH).join('\n')}`;

/** What stands below the help of a command; a line without its own `stillpoint` gets it, and a long one is continued. */
export const examples = (...lines: readonly string[]): string => {
  const commands = lines.map((line) => {
    const command = line.includes('stillpoint ') ? line : `stillpoint ${line}`;
    return `  $ ${wrapped(command.split(/ (?=-)/), ' ', HELP_WIDTH - 6).join(' \\\n      ')}`;
  });
  return `\nExamples:\n${commands.join('\n')}`;
};
