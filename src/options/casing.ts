/**
 * Names are camelCase in the library and snake_case in JSON: on the command line, over HTTP and in files. These two
 * functions are the only place that converts.
 */

type Snake<Name extends string> = Name extends `${infer First}${infer Rest}`
  ? `${First extends Uppercase<First> ? (First extends Lowercase<First> ? First : `_${Lowercase<First>}`) : First}${Snake<Rest>}`
  : Name;

type Camel<Name extends string> = Name extends `${infer First}_${infer Rest}`
  ? `${First}${Capitalize<Camel<Rest>>}`
  : Name;

/** A value of the library as JSON has it. */
export type SnakeCased<T> = T extends readonly (infer Item)[]
  ? readonly SnakeCased<Item>[]
  : T extends object
    ? { [Name in keyof T as Name extends string ? Snake<Name> : Name]: SnakeCased<T[Name]> }
    : T;

/** A value of JSON as the library has it. */
export type CamelCased<T> = T extends readonly (infer Item)[]
  ? readonly CamelCased<Item>[]
  : T extends object
    ? { [Name in keyof T as Name extends string ? Camel<Name> : Name]: CamelCased<T[Name]> }
    : T;

export const snakeName = <Name extends string>(name: Name): Snake<Name> =>
  name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`) as Snake<Name>;

const camelName = (name: string): string =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** The value with the names of all members in snake_case. Values are not changed. */
export const toJson = <T>(value: T): SnakeCased<T> => renamed(value, snakeName) as SnakeCased<T>;

/** The value with the names of all members in camelCase: the inverse of `toJson`. */
export const fromJson = <T>(value: T): CamelCased<T> => renamed(value, camelName) as CamelCased<T>;

function renamed(value: unknown, rename: (name: string) => string): unknown {
  if (Array.isArray(value)) return value.map((item) => renamed(item, rename));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [rename(name), renamed(member, rename)]),
  );
}
