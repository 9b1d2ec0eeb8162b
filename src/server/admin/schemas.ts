import * as z from 'zod';
import { LEVELS } from '../../engine/report.ts';
import { LEAST_BYTES_PER_SECOND, type ThrottleOptions } from '../../operation/throttle.ts';
import { backupFields } from '../../rpc/node.ts';
import { MODES } from '../../snapshot/capture/capture.ts';
import { CLONE_CHOICES } from '../../snapshot/tasks/reflinker.ts';

/** Bodies of the admin RPC that start a run. The OpenAPI document is made from these; replies are in `rpc`. */

const level = z.enum(LEVELS).describe('How thoroughly files are read: `full` is down to the last entry');

/** What a run may take of the machine; the same in every body that starts one. */
const throttleFields = {
  max_bytes_per_second: z
    .int()
    .min(LEAST_BYTES_PER_SECOND)
    .optional()
    .describe('Of what is copied and read back together. Default: no limit'),
  background: z
    .boolean()
    .optional()
    .describe('Pauses while requests suffer, at most nine tenths of the time. Default false'),
  concurrency: z
    .int()
    .min(1)
    .optional()
    .describe('Tasks that compute at once. Default: one for each processor, with `background` 1'),
};

const throttleSchema = z.strictObject(throttleFields);

/** As the library calls them. `background`: what the server itself means by that. */
export function throttleOptionsOf(
  { max_bytes_per_second: maxBytesPerSecond, background, concurrency }: z.infer<typeof throttleSchema>,
  own: ThrottleOptions['background'],
): ThrottleOptions {
  return {
    ...(maxBytesPerSecond !== undefined && { maxBytesPerSecond }),
    ...(background !== undefined && { background: background && (own || true) }),
    ...(concurrency !== undefined && { concurrency }),
  };
}

export const backupBodySchema = z
  .strictObject({
    mode: z.enum(MODES).optional().describe('`link`: immutable files are hard links. Default `copy`'),
    level: level.optional(),
    reuse: z
      .boolean()
      .optional()
      .describe('Whether unchanged files are shared with the last snapshot. Default true'),
    clone: z
      .enum(CLONE_CHOICES)
      .optional()
      .describe('`auto`: immutable files become copy-on-write clones where possible. Default `never`'),
    reprove: z.boolean().optional().describe('Whether shared files are read again. Default false'),
    keep: z
      .int()
      .min(1)
      .optional()
      .describe('Afterwards remove all but so many snapshots. Default: keep all'),
    ...throttleFields,
    ...backupFields,
  })
  .nullish();

export const verifyBodySchema = z.strictObject({ level: level.optional(), ...throttleFields }).nullish();

export const restoreBodySchema = z
  .strictObject({
    source: z
      .string()
      .min(1)
      .max(4096)
      .nullish()
      .describe('`latest`, a name, an id, or a path inside a folder that is allowed. Default `latest`'),
    clone: z
      .enum(CLONE_CHOICES)
      .optional()
      .describe("`auto`: copy-on-write clones of the snapshot's files where possible. Default `never`"),
    ...throttleFields,
  })
  .nullish();

export const lifecycleBodySchema = z.strictObject({
  action: z.string().describe('`archive` or `export`'),
});

export const emptyBodySchema = z.strictObject({}).nullish();

export const handleParamsSchema = z.object({ id: z.string().describe('A handle: a UUID') });
export const nameParamsSchema = z.object({ name: z.string().describe('Name or id of a snapshot') });

export const fileParamsSchema = nameParamsSchema.extend({
  path: z.string().describe('An entry of the manifest, its slashes as `%2F`'),
});
