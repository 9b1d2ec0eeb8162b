import { type Command, InvalidArgumentError, Option } from 'commander';
import * as z from 'zod/mini';
import { aboutOf, type Described, type Fields, schemaOf } from '../options/option.ts';
import { byteCount, period } from './quantities.ts';
import { size } from './text.ts';

/** What commander hands to an action. */
export type Given = Readonly<Record<string, unknown>>;

/** Some options of a set as flags of a command: name, choices, default, description and checks come from the schema. */
export class Flags<F extends Fields, Name extends keyof F & string> {
  readonly #fields: F;
  readonly #names: readonly Name[];

  constructor(fields: F, names: readonly Name[]) {
    this.#fields = fields;
    this.#names = names;
  }

  /**
   * Adds the flags to a command, each description after `prefix`. `change` can add what only the command line knows: a
   * variable of the environment, a conflict.
   */
  addTo(
    command: Command,
    prefix = '',
    change: Partial<Readonly<Record<Name, (option: Option, command: Command) => void>>> = {},
  ): void {
    for (const name of this.#names) {
      const option = optionOf(name, this.#fields[name]!, prefix);
      change[name]?.(option, command);
      command.addOption(option);
    }
  }

  /** What the command line gave, as the library calls it. Left out is what was not given and has no default. */
  read(given: Given): Partial<z.input<z.ZodMiniObject<Pick<F, Name>>>> {
    const entries = this.#names.flatMap((name) => {
      const { flag = {} } = aboutOf(this.#fields[name]!);
      const flagName = flag.name ?? name;
      // Commander knows `--no-x` as `x`, which is true until it is given.
      const isNegated = flagName.startsWith('no-');
      const value = given[camelCase(isNegated ? flagName.slice(3) : flagName)];
      if (value === undefined || (isNegated && value === true)) return [];
      return [[name, flag.sets === undefined ? value : flag.sets]];
    });
    return Object.fromEntries(entries);
  }
}

/**
 * The command needs this option. Checked after all else: commander's own check comes before that for unknown options, and would
 * say that `--to` is missing where somebody has written `--tto`.
 */
export function mandatory(option: Option, command: Command): void {
  command.hook('preAction', () => {
    if (command.getOptionValue(option.attributeName()) !== undefined) return;
    command.error(`error: required option '${option.flags}' not specified`);
  });
}

/** The option can stand in a variable of the environment, such as STILLPOINT_JOBS for `--jobs`. */
export function fromVariable(option: Option): void {
  option.env(`STILLPOINT_${option.name().toUpperCase().replaceAll('-', '_')}`);
}

const camelCase = (name: string): string =>
  name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
const kebabCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

function optionOf(name: string, field: z.ZodMiniType, prefix: string): Option {
  const about = aboutOf(field);
  const schema = schemaOf(field);
  const { flag = {} } = about;
  const flagName = `--${flag.name ?? kebabCase(name)}`;
  const text = `${prefix}${shortText(about, schema)}`;
  if (schema instanceof z.ZodMiniBoolean) return new Option(flagName, text);
  const value = flag.value ?? placeholder(name, schema, about);
  const option = new Option(`${flagName} <${value}>`, text);
  if (schema instanceof z.ZodMiniEnum) option.choices(schema.options as string[]);
  else if (schema instanceof z.ZodMiniReadonly) option.argParser(repeated(schema));
  else option.argParser((text: string) => parsed(text, schema, about));
  const fallback = about.fallback?.();
  return typeof fallback === 'string' ? option.default(fallback) : option;
}

function placeholder(name: string, schema: z.ZodMiniType, { unit }: Described): string {
  if (unit === 'bytes') return 'size';
  if (unit === 'milliseconds') return 'time';
  return schema instanceof z.ZodMiniNumber ? 'n' : kebabCase(name).split('-').at(-1)!;
}

const EXAMPLES = { bytes: ['4096', '500M', '2G'], milliseconds: ['30s', '30m', '12h', '7d'] };
const EXAMPLES_SHOWN = 3;

/** Values of that unit which the option takes, as they are written. */
function examplesOf(schema: z.ZodMiniType, unit: NonNullable<Described['unit']>): string {
  const taken = EXAMPLES[unit].filter((text) => schema.safeParse(valueIn(text, schema, unit)).success);
  return taken.slice(-EXAMPLES_SHOWN).join(', ');
}

/** The first sentence of a description, in the style of `--help`. */
function shortText({ description, flag, without: fallback, unit }: Described, schema: z.ZodMiniType): string {
  if (flag?.description !== undefined) return flag.description;
  const [sentence = ''] = description.split(/\.(?: |$)/);
  const without = flag?.without ?? fallback;
  const notes = [
    ...(unit === undefined ? [] : [examplesOf(schema, unit)]),
    ...(without === undefined ? [] : [`default: ${without}`]),
  ];
  const text = sentence.replaceAll('`', '').replace(/^[A-Z](?![A-Z])/, (letter) => letter.toLowerCase());
  return notes.length === 0 ? text : `${text} (${notes.join('; ').replaceAll('`', '')})`;
}

function parsed(text: string, schema: z.ZodMiniType, { unit }: Described): unknown {
  // A script whose variable is not set would otherwise name the folder that it runs in, or nothing at all.
  if (text === '') throw new InvalidArgumentError('It must not be empty.');
  const value = valueIn(text, schema, unit);
  const result = schema.safeParse(value);
  if (result.success) return value;
  const [issue] = result.error.issues as [z.core.$ZodIssue];
  if (unit === 'bytes' && issue.code === 'too_small')
    throw new InvalidArgumentError(`It must be at least ${size(Number(issue.minimum))}.`);
  throw new InvalidArgumentError(`It ${issue.message}.`);
}

function valueIn(text: string, schema: z.ZodMiniType, unit: Described['unit']): unknown {
  if (unit === 'bytes') return byteCount(text);
  if (unit === 'milliseconds') return period(text);
  if (schema instanceof z.ZodMiniNumber) return /^\d+$/.test(text) ? Number(text) : text;
  return text;
}

const repeated =
  (schema: z.ZodMiniType) =>
  (text: string, previous: readonly string[] = []): readonly string[] => {
    if (text === '') throw new InvalidArgumentError('It must not be empty.');
    const all = [...previous, text];
    const result = schema.safeParse(all);
    if (result.success) return all;
    throw new InvalidArgumentError(`It ${result.error.issues[0]!.message}.`);
  };
