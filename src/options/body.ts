import * as z from 'zod/mini';
import { type SnakeCased, snakeName } from './casing.ts';
import { describe } from './describe.ts';
import { aboutOf, type Fields, optional, schemaOf, type WithoutDefaults } from './option.ts';

type BodyFields<F extends Fields> = SnakeNames<WithoutDefaults<F>>;
type SnakeNames<T> = { readonly [Name in keyof T as keyof SnakeCased<{ readonly [N in Name]: 0 }>]: T[Name] };
export type BodyOf<F extends Fields, More extends z.core.$ZodShape> = z.ZodMiniOptional<
  z.ZodMiniNullable<z.ZodMiniObject<BodyFields<F> & More>>
>;

/**
 * The body of an HTTP request that carries these options: names in snake_case, nothing required and no defaults, since the
 * server has its own. A request without a body is one without options.
 *
 * @param more What the body carries besides, already as JSON has it.
 */
export function bodyOf<F extends Fields, More extends z.core.$ZodShape = Record<never, never>>(
  fields: F,
  more?: More,
): BodyOf<F, More> {
  const entries = Object.entries(fields).map(([name, field]) => {
    const value = z.clone(schemaOf(field));
    z.globalRegistry.add(value, { description: describe(aboutOf(field)) });
    return [snakeName(name), optional(value, aboutOf(field))];
  });
  const shape = { ...Object.fromEntries(entries), ...more };
  return z.nullish(z.strictObject(shape)) as unknown as BodyOf<F, More>;
}
