import { basename, resolve } from 'node:path';
import type { Command, Option } from 'commander';
import type { FileSystem } from '../../env/file-system.ts';
import { realPlace } from '../../env/io.ts';
import { StillpointError } from '../../errors.ts';
import { readSettings } from '../../schedule/settings.ts';
import { keptLayout } from '../../snapshot/store/home.ts';

/** A command line that the system is to run, and what it needs of the disk. */
export interface Subject {
  /** Without the program: `['serve', '/var/lib/orders']`. Paths are absolute. */
  readonly args: readonly string[];
  /** Runs until it is ended, as `serve` does. */
  readonly isLasting: boolean;
  /** Folders that it may write to. */
  readonly folders: readonly string[];
  /** Files that it reads. */
  readonly files: readonly string[];
  /** Such as `serve-orders`. */
  readonly slug: string;
}

const LASTING = ['serve', 'schedule run'];
/** Those are for people, or make these very files. */
const NEVER = ['service', 'console', 'help', 'man', 'completion'];
/** How operands, and the values of options, are called that are places on the disk. */
const PATHS = /^(dir|file|dest|path|settings|fleetfile)$/;
const isAddress = (text: string): boolean => /^[a-z0-9]+:\/\//i.test(text);

/**
 * Parses the command line as it will be parsed when it runs, so that a mistake is told now. Relative paths are meant from the present
 * folder. What it names must be there: `NOT_FOUND`.
 *
 * @param program With the commands that the line names.
 */
export async function subjectOf(program: Command, line: readonly string[], fs: FileSystem): Promise<Subject> {
  const [leaf, names] = commandOf(program, line);
  if (names.length === 0 || NEVER.includes(names[0]!) || leaf.commands.length > 0) {
    throw new StillpointError('INVALID_REQUEST', `\`${line.join(' ')}\` is no command to run unattended`, {
      hint: 'Name one behind `--`, such as `-- serve /var/lib/orders`.',
    });
  }
  await parsed(program, leaf, line);
  const named = new Map(pathsOf(leaf).map((text) => [text, absolute(text)]));
  const places = new Set([...named.values()].filter((place) => !isAddress(place)));
  for (const file of settingsFilesOf(leaf, named))
    for (const place of await placesIn(fs, file)) places.add(place);
  const folders = new Set<string>();
  const files = new Set<string>();
  for (const place of places) {
    const real = await realPlace(fs, place);
    const kind = (await fs.inspect(real))?.kind;
    if (kind === undefined) throw absent(place);
    (kind === 'folder' ? folders : files).add(place);
    if (kind === 'folder') folders.add((await keptLayout(fs, real)).home);
  }
  return {
    args: [...names, ...rewritten(leaf, line.slice(names.length))],
    isLasting: LASTING.includes(names.join(' ')),
    folders: [...folders].filter((folder) => folder !== '/'),
    files: [...files],
    slug: [...names, basename(leaf.args[0] ?? '').replace(/\.json$/, '')].join('-'),
  };
}

function commandOf(program: Command, line: readonly string[]): [Command, string[]] {
  const names: string[] = [];
  let found = program;
  for (const word of line) {
    const child = found.commands.find((command) => command.name() === word);
    if (child === undefined) break;
    names.push(word);
    found = child;
  }
  return [found, names];
}

/** In these files a line ends where the value of a word might go on. */
export function refuseUnwritable(word: string): void {
  if (!/\p{Cc}|\\$/u.test(word)) return;
  throw new StillpointError(
    'INVALID_REQUEST',
    `${JSON.stringify(word)} has a control character, or ends in a backslash`,
    { hint: 'Such a name cannot be written into these files; rename what it names.' },
  );
}

async function parsed(program: Command, leaf: Command, line: readonly string[]): Promise<void> {
  for (const word of line) refuseUnwritable(word);
  leaf.action(() => undefined);
  await program.parseAsync([...line], { from: 'user' });
  if (leaf.args.length < leaf.registeredArguments.length) {
    throw new StillpointError('INVALID_REQUEST', 'the command line names no data directory', {
      hint: 'Name it: the variables of this shell are not there when the system runs the command.',
    });
  }
  if (leaf.getOptionValueSource('apiKey') === 'cli') {
    throw new StillpointError('INVALID_REQUEST', 'the key would stand in a file that others can read', {
      hint: 'Write it into a file of its own, and name that with `--api-key-file`.',
    });
  }
}

/** As they were given. */
function pathsOf(leaf: Command): string[] {
  const operands = leaf.registeredArguments.flatMap((operand, i) =>
    PATHS.test(operand.name()) ? [leaf.args[i]!] : [],
  );
  const values = leaf.options.flatMap((option) =>
    isPlace(option) ? [leaf.getOptionValue(option.attributeName())].flat() : [],
  );
  return [...operands, ...values.filter((value) => typeof value === 'string')];
}

const absolute = (text: string): string => (isAddress(text) ? text : resolve(text.replace(/^folder:/, '')));

/** The words behind the command, with whole paths. By their places: a folder may be called like a word of the command, or like an engine. */
function rewritten(leaf: Command, words: readonly string[]): string[] {
  const all: string[] = [];
  const rest = [...words];
  let operands = 0;
  let areFlagsOver = false;
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (!areFlagsOver && word === '--') {
      areFlagsOver = true;
      all.push(word);
    } else if (!areFlagsOver && /^-./.test(word)) {
      const [, flag = word, joined] = /^(--[\w-]+)=(.*)$/s.exec(word) ?? [];
      const option = leaf.options.find(({ long, short }) => long === flag || short === flag);
      const whole = isPlace(option) ? absolute : (value: string) => value;
      if (joined !== undefined) all.push(`${flag}=${whole(joined)}`);
      else all.push(word, ...(option?.required ? rest.splice(0, 1).map(whole) : []));
    } else {
      const operand = leaf.registeredArguments[operands++];
      all.push(PATHS.test(operand?.name() ?? '') ? absolute(word) : word);
    }
  }
  return all;
}

const isPlace = (option: Option | undefined): boolean =>
  PATHS.test(/<([\w-]+)>/.exec(option?.flags ?? '')?.[1] ?? '');

function settingsFilesOf(leaf: Command, named: ReadonlyMap<string, string>): string[] {
  const operand = leaf.registeredArguments.findIndex((one) => one.name() === 'settings');
  const given = operand >= 0 ? leaf.args[operand] : leaf.getOptionValue('settings');
  return given === undefined ? [] : [named.get(given)!];
}

/** What a settings file names: folders that its plans write to, files with keys. */
async function placesIn(fs: FileSystem, file: string): Promise<string[]> {
  const { stores, repositories, plans, alerts } = await readSettings(fs, file);
  const keys = repositories.flatMap(({ encryption: keys }) => [keys?.identity, keys?.keyFile]);
  const scratch = plans.map((plan) => plan.scratch);
  const secrets = [
    ...repositories.map(({ encryption }) => encryption?.passphrase),
    ...plans.map(({ jobs }) => jobs),
    alerts?.webhook?.url,
    alerts?.webhook?.secret,
    alerts?.heartbeat?.url,
  ].flatMap((name) => (name?.startsWith('file:') ? [resolve(name.slice('file:'.length))] : []));
  const destinations = repositories.map(({ destination }) => destination).filter((to) => !isAddress(to));
  const named = [...stores.map(({ dataDir }) => dataDir), ...destinations, ...keys, ...scratch, ...secrets];
  return named.filter((place) => place !== undefined);
}

const absent = (path: string): StillpointError =>
  new StillpointError('NOT_FOUND', `there is nothing at ${path}`, {
    path,
    hint: 'Make it first, as the user that the command will run as: it may write to no other place.',
  });
