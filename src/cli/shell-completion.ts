import { allOf, type DescribedCommand, type DescribedOption } from './command-tree.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** A script that completes commands, options and the values of options. All else is completed as a file. */
export function completionOf(program: DescribedCommand, shell: Shell): string {
  if (shell === 'bash') return bash(program);
  return shell === 'zsh' ? zsh(program) : fish(program);
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const namesOf = ({ short, long }: DescribedOption): string[] =>
  short === undefined ? [long] : [short, long];
const lastWord = (name: string): string => name.split(' ').at(-1)!;

/** The words typed so far, without options and operands: the pattern of each command that they can name. */
const namedCommands = (program: DescribedCommand): string[] =>
  allOf(program).flatMap(({ name }) => (name === '' ? [] : [name]));

/** Shared by bash and zsh: `at` becomes the command that the words before the cursor name. */
const walk = (program: DescribedCommand, words: string): string[] => [
  '  local at="" word',
  `  for word in ${words}; do`,
  '    case "$at $word" in',
  `      ${namedCommands(program)
    .map((name) => quoted(` ${name}`))
    .join('|')}) at="$at $word" ;;`,
  '    esac',
  '  done',
];

function bash(program: DescribedCommand): string {
  const commands = allOf(program);
  const values = commands.flatMap(({ name, options }) =>
    options
      .filter(({ takesValue }) => takesValue)
      .map((option) => {
        const patterns = namesOf(option).map((flag) => quoted(`${name === '' ? '' : ` ${name}`} ${flag}`));
        const reply =
          option.choices.length === 0
            ? 'return'
            : `COMPREPLY=($(compgen -W ${quoted(option.choices.join(' '))} -- "$cur")); return`;
        return `    ${patterns.join('|')}) ${reply} ;;`;
      }),
  );
  const words = commands.map(({ name, options, commands: below }) => {
    const pattern = quoted(name === '' ? '' : ` ${name}`);
    const names = below.map((child) => lastWord(child.name)).join(' ');
    const flags = options.flatMap(namesOf).join(' ');
    return `    ${pattern}) names=${quoted(names)} flags=${quoted(flags)} ;;`;
  });
  return [
    '# bash completion of stillpoint: source <(stillpoint completion bash)',
    '_stillpoint() {',
    `  local cur="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" names="" flags=""`,
    '  COMPREPLY=()',
    ...walk(program, `"\${COMP_WORDS[@]:1:COMP_CWORD-1}"`),
    '  case "$at $previous" in',
    ...values,
    '  esac',
    '  case "$at" in',
    ...words,
    '  esac',
    '  if [[ "$cur" == -* ]]; then COMPREPLY=($(compgen -W "$flags" -- "$cur"))',
    '  else COMPREPLY=($(compgen -W "$names" -- "$cur")); fi',
    '}',
    'complete -o bashdefault -o default -F _stillpoint stillpoint',
    '',
  ].join('\n');
}

function zsh(program: DescribedCommand): string {
  const described = (name: string, text: string) => quoted(`${name.replaceAll(':', '\\:')}:${text}`);
  const cases = allOf(program).map(({ name, options, commands }) => {
    const names = commands.map((child) => described(lastWord(child.name), child.summary));
    const flags = options.flatMap((option) =>
      namesOf(option).map((flag) => described(flag, option.description)),
    );
    return `    ${quoted(name === '' ? '' : ` ${name}`)}) names=(${names.join(' ')}); flags=(${flags.join(' ')}) ;;`;
  });
  const values = allOf(program).flatMap(({ name, options }) =>
    options
      .filter(({ takesValue }) => takesValue)
      .map((option) => {
        const patterns = namesOf(option).map((flag) => quoted(`${name === '' ? '' : ` ${name}`} ${flag}`));
        const reply =
          option.choices.length === 0 ? '_files' : `compadd -- ${option.choices.map(quoted).join(' ')}`;
        return `    ${patterns.join('|')}) ${reply}; return ;;`;
      }),
  );
  return [
    '#compdef stillpoint',
    '# zsh completion of stillpoint: stillpoint completion zsh > a folder of $fpath/_stillpoint',
    '_stillpoint() {',
    '  local -a names flags',
    `  local previous="\${words[CURRENT-1]}"`,
    ...walk(program, `"\${(@)words[2,CURRENT-1]}"`),
    '  case "$at $previous" in',
    ...values,
    '  esac',
    '  case "$at" in',
    ...cases,
    '  esac',
    `  if [[ "\${words[CURRENT]}" == -* ]]; then _describe option flags`,
    '  elif (( $#names )); then _describe command names',
    '  else _files; fi',
    '}',
    'if [[ "$funcstack[1]" = _stillpoint ]]; then _stillpoint "$@"; else compdef _stillpoint stillpoint; fi',
    '',
  ].join('\n');
}

function fish(program: DescribedCommand): string {
  const lines = allOf(program).flatMap(({ name, options, commands }) => {
    const here = `-n ${quoted(`__stillpoint_at ${quoted(name)}`)}`;
    return [
      ...commands.map(
        (child) => `complete -c stillpoint -f ${here} -a ${lastWord(child.name)} -d ${quoted(child.summary)}`,
      ),
      ...options.map(({ short, long, description, takesValue, choices }) =>
        [
          `complete -c stillpoint ${here}`,
          ...(short === undefined ? [] : [`-s ${short.slice(1)}`]),
          `-l ${long.slice(2)} -d ${quoted(description)}`,
          ...(takesValue ? ['-r'] : []),
          ...(choices.length > 0 ? [`-f -a ${quoted(choices.join(' '))}`] : []),
        ].join(' '),
      ),
    ];
  });
  return [
    '# fish completion of stillpoint: stillpoint completion fish > ~/.config/fish/completions/stillpoint.fish',
    'function __stillpoint_at',
    '  set -l at ""',
    '  for word in (commandline -opc)[2..-1]',
    '    switch (string trim -- "$at $word")',
    `      case ${namedCommands(program).map(quoted).join(' ')}`,
    '        set at (string trim -- "$at $word")',
    '    end',
    '  end',
    '  test "$at" = "$argv[1]"',
    'end',
    ...lines,
    '',
  ].join('\n');
}
