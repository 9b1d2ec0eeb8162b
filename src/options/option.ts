import * as z from 'zod/mini';

/** What people are told of an option: in `--help`, in the OpenAPI document and in `src/options/README.md`. */
export interface About {
  /** Whole sentences. The command line shows the first one. */
  readonly description: string;
  /** What happens without it, where that is no value: `no limit`. */
  readonly without?: string;
  /** Decides how the command line reads a number. Default: a plain number. */
  readonly unit?: 'bytes' | 'milliseconds';
  readonly flag?: Flag;
}

/** How the command line calls an option, where its name does not say. */
export interface Flag {
  /** Default: the name in kebab-case. */
  readonly name?: string;
  /** What stands for the value in the help, such as `file`. */
  readonly value?: string;
  /** The value that the flag stands for. Default true. */
  readonly sets?: boolean;
  /** What happens without it, where the command line lacks the option that the library's text names. */
  readonly without?: string;
  /** Needed where the flag says the opposite of the option. */
  readonly description?: string;
}

export type Fields = Readonly<Record<string, z.ZodMiniType>>;
export type OptionsOf<Set> = Set extends OptionSet<infer F> ? Readonly<z.input<z.ZodMiniObject<F>>> : never;
export type ResolvedOf<Set> = Set extends OptionSet<infer F> ? Readonly<z.output<z.ZodMiniObject<F>>> : never;

/** With the default of an option that has one. */
export interface Described extends About {
  readonly fallback?: () => unknown;
}

const known = new WeakMap<z.ZodMiniType, Described>();

/** What was said of an option when it was declared. */
export function aboutOf(field: z.ZodMiniType): Described {
  const about = known.get(field);
  if (about === undefined) throw new TypeError('an option was declared without a description');
  return about;
}

/** An option that may be left out. */
export function optional<T extends z.ZodMiniType>(schema: T, about: About): z.ZodMiniOptional<T> {
  return remember(z.optional(schema), about);
}

/** An option with a default. A function makes it, so that it is not copied. */
export function withDefault<T extends z.ZodMiniType, const Value extends z.output<T>>(
  schema: T,
  fallback: () => Value,
  about: About,
): z.ZodMiniDefault<T> {
  return remember(z._default(schema, fallback as never), { ...about, fallback });
}

/** An option that must be given. */
export function required<T extends z.ZodMiniType>(schema: T, about: About): T {
  return remember(schema, about);
}

/** The same option with another schema, for a face that takes other values. */
export function restated<T extends z.core.$ZodType>(field: z.ZodMiniType, schema: T): z.ZodMiniOptional<T> {
  return remember(z.optional(schema), aboutOf(field));
}

function remember<T extends z.ZodMiniType>(field: T, about: Described): T {
  known.set(field, about);
  return field;
}

/** The schema below `optional` and `withDefault`. */
export function schemaOf(field: z.ZodMiniType): z.ZodMiniType {
  const isWrapped = field instanceof z.ZodMiniOptional || field instanceof z.ZodMiniDefault;
  return isWrapped ? schemaOf(field._zod.def.innerType as z.ZodMiniType) : field;
}

/** The same fields without defaults: for options that are merged into others. */
export function withoutDefaults<F extends Fields>(fields: F): WithoutDefaults<F> {
  const entries = Object.entries(fields).map(([name, field]) => {
    if (!(field instanceof z.ZodMiniDefault)) return [name, field];
    return [name, optional(schemaOf(field), aboutOf(field))];
  });
  return Object.fromEntries(entries);
}

export type WithoutDefaults<F extends Fields> = {
  readonly [Name in keyof F]: F[Name] extends z.ZodMiniDefault<infer T extends z.ZodMiniType>
    ? z.ZodMiniOptional<T>
    : F[Name];
};

/**
 * The options of one function or class: their types, defaults, checks and descriptions. The schema is made when it is first
 * used, so a program that never calls the function does not pay for it.
 */
export class OptionSet<F extends Fields> {
  readonly #define: () => F;
  #fields: F | undefined;
  #schema: z.ZodMiniObject<F> | undefined;

  constructor(define: () => F) {
    this.#define = define;
  }

  get fields(): F {
    this.#fields ??= this.#define();
    return this.#fields;
  }

  get schema(): z.ZodMiniObject<F> {
    this.#schema ??= z.strictObject(this.fields) as unknown as z.ZodMiniObject<F>;
    return this.#schema;
  }

  /**
   * The options with their defaults. `defaults` of the caller come before those of the schema. A `TypeError` says what is
   * wrong, beginning with `what` and the name of the option.
   */
  resolve(what: string, options: unknown, defaults: object = {}): z.output<z.ZodMiniObject<F>> {
    this.check(what, options);
    return parse(what, this.schema, { ...defaults, ...this.#given(options as object) });
  }

  /** Only checks. */
  check(what: string, options: unknown): void {
    if (typeof options !== 'object' || options === null || Array.isArray(options))
      throw new TypeError(`${what}: options must be an object`);
    parse(what, this.schema, options);
  }

  /** The options that are given, own or inherited: they may be an instance of a class. An undefined one counts as left out. */
  #given(options: object): object {
    const entries = Object.keys(this.fields).map((name) => [name, (options as never)[name]] as const);
    return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
  }
}

/** One argument that is no object of options; the `TypeError` names it. */
export function checkArgument(what: string, schema: z.ZodMiniType, value: unknown): void {
  const result = schema.safeParse(value);
  if (!result.success) throw new TypeError(`${what} ${result.error.issues[0]!.message}`);
}

function parse<T extends z.ZodMiniType>(what: string, schema: T, value: unknown): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { path, issue } = innermost(result.error.issues[0] as z.core.$ZodIssue);
  // The place in a list says less than what the list must be.
  const name = path.filter((part) => typeof part === 'string').join('.');
  if (issue.code !== 'unrecognized_keys') throw new TypeError(`${what}: ${name} ${issue.message}`);
  const place = name === '' ? what : `${what}: ${name}`;
  throw new TypeError(`${place}: there is no option ${JSON.stringify(issue.keys[0])}`);
}

/** Of a union, the issue of the branch that the value was meant for. */
function innermost(
  issue: z.core.$ZodIssue,
  above: readonly PropertyKey[] = [],
): { issue: z.core.$ZodIssue; path: readonly PropertyKey[] } {
  const path = [...above, ...issue.path];
  if (issue.code !== 'invalid_union') return { issue, path };
  const meant = issue.errors
    .map(([first]) => first)
    .find((inner) => inner !== undefined && (inner.path.length > 0 || inner.code === 'unrecognized_keys'));
  return meant === undefined ? { issue, path } : innermost(meant, path);
}
