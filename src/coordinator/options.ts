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
