import * as z from 'zod/mini';

/** What the value of an option can be. Each schema says what the value must be; `option.ts` puts the name before it. */

const must = (be: string) => ({ error: `must be ${be}` });

export const oneOf = <const T extends readonly string[]>(values: T): z.ZodMiniEnum<{ [V in T[number]]: V }> =>
  z.enum(values, must(`one of ${values.join(', ')}`)) as never;

export const trueOrFalse = () => z.boolean(must('true or false'));

export const text = (be = 'a non-empty string') => z.string(must(be)).check(z.minLength(1, must(be)));

const pathText = (be: string) => text(be).check(z.refine((path) => !path.includes('\0'), must(be)));
export const path = () => pathText('a path');
export const folder = () => pathText('the path of a folder');
/** What names a snapshot. */
export const snapshotName = () => pathText('`latest`, a name, an id or a path');

/** A string is no array of its characters: one of them may be `/`. */
export const paths = () => z.readonly(z.array(pathText('an array of paths'), must('an array of paths')));

/** Names of what is there: none may be the right answer. */
export const names = () => z.readonly(z.array(text('an array of names'), must('an array of names')));

export function wholeNumber(low: number, high = Number.MAX_SAFE_INTEGER) {
  const isOpen = high === Number.MAX_SAFE_INTEGER;
  const be = must(isOpen ? `a whole number, ${low} or more` : `a whole number from ${low} to ${high}`);
  return z.int(be).check(z.gte(low, be), z.lte(high, be));
}

export function milliseconds() {
  const be = must('a number of milliseconds, 0 or more');
  return z.number(be).check(z.gte(0, be));
}

/** A function of the caller. */
export const callback = <F extends (...args: never[]) => unknown>() =>
  z.custom<F>((value) => typeof value === 'function', must('a function').error);

/** An object known by its methods: one that another copy of a package made is as good. */
export const withMethods = <T>(be: string, ...methods: readonly string[]) =>
  z.custom<T>((value) => hasMethods(value, methods), must(be).error);

export const hasMethods = (value: unknown, methods: readonly string[]): boolean =>
  typeof value === 'object' &&
  value !== null &&
  methods.every((name) => typeof (value as Readonly<Record<string, unknown>>)[name] === 'function');

/** An object with these members; it is not copied. */
export const withMembers = <T extends object>(be: string, members: Readonly<Record<string, z.ZodMiniType>>) =>
  z
    .custom<T>((value) => typeof value === 'object' && value !== null && !Array.isArray(value), {
      ...must(be),
      abort: true, // the members are not looked at then
    })
    .check((context) => {
      const value = context.value as Readonly<Record<string, unknown>>;
      for (const [name, schema] of Object.entries(members)) {
        const result = schema.safeParse(value[name]);
        if (result.success) continue;
        const [{ message }] = result.error.issues as [z.core.$ZodIssue];
        context.issues.push({ code: 'custom', path: [name], message, input: value[name] });
        return;
      }
    });

/** Options inside of options. */
export const nested = <F extends Readonly<Record<string, z.ZodMiniType>>>(
  fields: F,
  be = 'an object of options',
) =>
  z.strictObject(fields, {
    error: ({ code }) => (code === 'unrecognized_keys' ? undefined : must(be).error),
  });

export const abortSignal = () =>
  z.custom<AbortSignal>(
    (value) => hasMethods(value, ['addEventListener']) && typeof (value as AbortSignal).aborted === 'boolean',
    must('an AbortSignal').error,
  );
