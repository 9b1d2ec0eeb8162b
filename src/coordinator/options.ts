import { resolve } from 'node:path';

/** Checks of what a caller hands in: a mistake is a `TypeError` that names the argument. */

type Check = (name: string, value: unknown) => void;

export function checkOptions(what: string, options: unknown, checks: Readonly<Record<string, Check>>): void {
  if (typeof options !== 'object' || options === null)
    throw new TypeError(`${what} takes an object of options`);
  const record = options as Record<string, unknown>;
  if (typeof record.dataDir !== 'string' || record.dataDir === '') {
    throw new TypeError(`${what}: dataDir must be the path of a folder`);
  }
  for (const [name, check] of Object.entries(checks)) check(`${what}: ${name}`, record[name]);
}

/** A misspelt option would silently do nothing. */
export function noOthers(what: string, options: object, known: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw new TypeError(`${what}: there is no option ${JSON.stringify(name)}`);
  }
}

/** Both name a folder; if they name two, neither can be meant. */
export function sameFolder(
  what: string,
  dataDir: string,
  lifecycle: { readonly dataDir: string } | undefined,
): void {
  if (lifecycle === undefined || resolve(lifecycle.dataDir) === resolve(dataDir)) return;
  throw new TypeError(`${what}: dataDir is ${dataDir}, and the lifecycle is that of ${lifecycle.dataDir}`);
}

export const optional =
  (check: Check): Check =>
  (name, value) => {
    if (value !== undefined) check(name, value);
  };

export const optionalFunction: Check = (name, value) => {
  if (value !== undefined && typeof value !== 'function') throw new TypeError(`${name} must be a function`);
};

export const positiveInteger: Check = (name, value) => {
  if (!Number.isSafeInteger(value) || (value as number) < 1)
    throw new TypeError(`${name} must be a whole number above 0`);
};

export function oneOf(name: string, value: unknown, allowed: readonly string[]): void {
  if (!allowed.includes(value as string)) throw new TypeError(`${name} must be one of ${allowed.join(', ')}`);
}
