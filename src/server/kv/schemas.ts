import * as z from 'zod';
import { ENCODINGS, percentDecode } from './keys.ts';

export const MAX_BATCH_OPS = 10_000;
export const MAX_LIST_LIMIT = 1_000;

const encoding = z
  .enum(ENCODINGS)
  .describe('What stands for the bytes of key and value in JSON')
  .default('utf8');

export const keyParamsSchema = z.object({
  key: z.string().describe('Percent-encoded bytes; slashes belong to the key'),
});

export const batchBodySchema = z.strictObject({
  ops: z
    .array(
      z.discriminatedUnion('op', [
        z.strictObject({ op: z.literal('put'), key: z.string(), value: z.string(), encoding }),
        z.strictObject({ op: z.literal('delete'), key: z.string(), encoding }),
      ]),
    )
    .min(1)
    .max(MAX_BATCH_OPS)
    .describe('All or none; of several on one key the last one counts'),
});

export const writtenSchema = z.object({
  lsn: z
    .string()
    .nullable()
    .describe('Place of the commit in the order of all; null where the engine has none'),
});

const bytes = (description: string) =>
  z
    .string()
    .transform((text, context) => {
      const decoded = percentDecode(text.replaceAll('+', '%20'));
      if (decoded !== undefined) return decoded;
      context.addIssue({ code: 'custom', message: 'is not percent-encoded properly' });
      return z.NEVER;
    })
    .optional()
    .describe(`${description}; percent-encoded bytes`);

export const listQuerySchema = z.strictObject({
  prefix: bytes('Only keys that begin with it'),
  start: bytes('The first key'),
  end: bytes('The first key behind the last'),
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(MAX_LIST_LIMIT)
    .default(100)
    .describe('At most so many pairs; fewer when they are large'),
  reverse: z
    .enum(['true', 'false', '1', '0', ''])
    .default('false')
    .transform((text) => text !== 'false' && text !== '0')
    .describe('From the end to the start'),
  encoding,
});

export type ListQuery = z.infer<typeof listQuerySchema>;

export const listReplySchema = z.object({
  entries: z.array(
    z.object({
      key: z.string(),
      value: z.string(),
      encoding: z.enum(ENCODINGS).describe('`base64` also where key or value is no UTF-8'),
    }),
  ),
  next: z.string().nullable().describe('Where the list goes on; null at its end'),
});

/** Query values as they came, not decoded: they may stand for bytes. Of a name that comes twice all, which no route takes. */
export function splitQuery(query: string): Record<string, string | string[]> {
  const values: Record<string, string | string[]> = Object.create(null);
  for (const pair of query.split('&')) {
    if (pair === '') continue;
    const [name = '', ...rest] = pair.split('=');
    const value = rest.join('=');
    const before = values[name];
    values[name] = before === undefined ? value : [before, value].flat();
  }
  return values;
}
