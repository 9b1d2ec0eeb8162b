/** Checks of what a caller hands in: a mistake is a `TypeError` that names the argument. */

export type Check = (name: string, value: unknown) => void;

/** One check for each option that there is: an option without one does not compile. */
export type Checks<Options> = { readonly [Name in keyof Options]-?: Check };

type Members = Readonly<Record<string, Check>>;

/** Each of the options as its check wants it, and no others: a misspelt one would silently do nothing. */
export function checkOptions(what: string, options: unknown, checks: Members): void {
  if (!isObject(options)) throw new TypeError(`${what}: options must be an object`);
  noOthers(what, options, checks);
  checkMembers(`${what}: `, options, checks);
}

/** The same for options inside of options. */
export const optionsOf =
  (checks: Members, be = 'an object of options'): Check =>
  (name, value) => {
    if (!isObject(value)) throw new TypeError(`${name} must be ${be}`);
    noOthers(name, value, checks);
    checkMembers(`${name}.`, value, checks);
  };

/** An object that has these members, whatever else it has. */
export const withMembers =
  (be: string, checks: Members): Check =>
  (name, value) => {
    if (!isObject(value)) throw new TypeError(`${name} must be ${be}`);
    checkMembers(`${name}.`, value, checks);
  };

function noOthers(what: string, options: object, checks: Members): void {
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(checks, name))
      throw new TypeError(`${what}: there is no option ${JSON.stringify(name)}`);
  }
}

function checkMembers(prefix: string, value: Readonly<Record<string, unknown>>, checks: Members): void {
  for (const [name, check] of Object.entries(checks)) check(`${prefix}${name}`, value[name]);
}

export const optional =
  (check: Check): Check =>
  (name, value) => {
    if (value !== undefined) check(name, value);
  };

/** A check by what must hold of the value. */
export const must =
  (be: string, holds: (value: unknown) => boolean): Check =>
  (name, value) => {
    if (!holds(value)) throw new TypeError(`${name} must be ${be}`);
  };

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';

export const isPath = (value: unknown): boolean => isText(value) && !value.includes('\0');

export const aBoolean = must('true or false', (value) => typeof value === 'boolean');
export const aFunction = must('a function', (value) => typeof value === 'function');
export const aText = must('a non-empty string', isText);
export const aPath = must('a path', isPath);
export const aFolder = must('the path of a folder', isPath);
/** A string is no array of its characters: one of them may be `/`. */
export const aListOfPaths = must(
  'an array of paths',
  (value) => Array.isArray(value) && Array.from(value).every(isPath),
);

export const oneOf = (allowed: readonly string[]): Check =>
  must(`one of ${allowed.join(', ')}`, (value) => allowed.includes(value as string));

export const wholeNumber = (low: number, high = Number.MAX_SAFE_INTEGER): Check =>
  must(
    high === Number.MAX_SAFE_INTEGER
      ? `a whole number, ${low} or more`
      : `a whole number from ${low} to ${high}`,
    (value) => Number.isSafeInteger(value) && (value as number) >= low && (value as number) <= high,
  );

/** Told by its methods: one that another copy of a package made is as good. */
export const withMethods = (be: string, ...methods: readonly string[]): Check =>
  must(be, (value) => isObject(value) && methods.every((name) => typeof value[name] === 'function'));

export const aSignal = must(
  'an AbortSignal',
  (value) =>
    isObject(value) && typeof value.aborted === 'boolean' && typeof value.addEventListener === 'function',
);

export const aFileSystem = withMethods('a file system', 'open', 'inspect', 'list', 'rename');
export const aClock = withMethods('a clock', 'nowMs', 'monotonicMs', 'every');
export const theLocks = withMethods('locks', 'tryAcquire', 'tryAcquireEngineLock');
