import { allOf, type DescribedCommand } from './command-tree.ts';

/** The manual page stillpoint(1), for `man` and `mandoc`. */
export function manualPage(program: DescribedCommand, version: string, more: string): string {
  const commands = allOf(program).filter(({ name, commands }) => name !== '' && commands.length === 0);
  return [
    // No date: the same sources give the same page.
    `.TH STILLPOINT 1 "" "stillpoint ${version}" "User Commands"`,
    '.SH NAME',
    'stillpoint \\- snapshots of a live data directory, proven to open',
    '.SH SYNOPSIS',
    '.B stillpoint',
    '.I command',
    '.RI [ operands ]',
    '.RI [ options ]',
    '.SH DESCRIPTION',
    escaped(program.summary),
    '.SH COMMANDS',
    ...commands.flatMap(describe),
    '.SH ENVIRONMENT',
    '.TP',
    '.B STILLPOINT_DATA_DIR',
    'The data directory where a command line names none.',
    ...paragraphs(more),
    '.SH SEE ALSO',
    escaped('stillpoint COMMAND --help prints the same with examples.'),
    '',
  ].join('\n');
}

function describe({ name, summary, operands, options }: DescribedCommand): string[] {
  const taken = operands
    .map(({ name: operand, required }) => (required ? operand : `[${operand}]`))
    .join(' ');
  return [
    `.SS "${escaped(`stillpoint ${name}${taken === '' ? '' : ` ${taken}`}`)}"`,
    `${escaped(`${summary[0]!.toUpperCase()}${summary.slice(1)}`)}.`,
    ...operands.flatMap((operand) => ['.TP', `.I ${escaped(operand.name)}`, escaped(operand.description)]),
    ...options.flatMap(({ flags, description, choices, fallback }) => [
      '.TP',
      `.B ${escaped(flags)}`,
      escaped(
        [
          description,
          ...(choices.length > 0 ? [`(one of ${choices.join(', ')})`] : []),
          ...(fallback === undefined ? [] : [`(default: ${fallback})`]),
        ].join(' '),
      ),
    ]),
  ];
}

/** "Exit codes:" and its table, as the help of the program prints them. */
function paragraphs(text: string): string[] {
  const [, ...rows] = text.trim().split('\n');
  return [
    '.SH "EXIT STATUS"',
    ...rows.flatMap((row) => {
      const [, code = '', meaning = ''] = /^\s*(\d+)\s+(.*)$/.exec(row) ?? [];
      return ['.TP', `.B ${code}`, escaped(meaning)];
    }),
  ];
}

/** Nothing in it is a request or an escape of roff, and a hyphen stays one that can be copied. */
const escaped = (text: string): string =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('"', '\\(dq')
    .replace(/^([.'])/, '\\&$1');
