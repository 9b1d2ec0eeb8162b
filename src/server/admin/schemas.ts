import * as z from 'zod';
import { operationStateSchema } from '../../operation/operation-state.ts';
import { KEEP_RUNS } from '../../operation/records.ts';
import { RECORD_KINDS } from '../../operation/run-record.ts';
import { bodyOf } from '../../options/body.ts';
import { type CamelCased, fromJson } from '../../options/casing.ts';
import { SNAPSHOT_KINDS } from '../../options/choices.ts';
import { aboutOf, restated } from '../../options/option.ts';
import { restoreOptions, startUndoOptions } from '../../options/restore.ts';
import { snapshotOptions } from '../../options/snapshot.ts';
import type { ThrottleOptions } from '../../options/throttle.ts';
import { pruneOptions, pruneUndoOptions, verifyAllOptions, verifyOptions } from '../../options/verify.ts';
import { restoreFields } from '../../rpc/hold.ts';
import { backupFields } from '../../rpc/node.ts';

/** Bodies of the admin RPC. The OpenAPI document is made from these; replies are in `rpc`. */

export const backupBodySchema = bodyOf(snapshotOptions.fields, backupFields);
export const verifyBodySchema = bodyOf(verifyOptions.fields);
export const verifyAllBodySchema = bodyOf(verifyAllOptions.fields);
export const pruneBodySchema = z.strictObject({
  keep: z.int().min(1).describe('How many of the newest snapshots stay'),
  kind: z.enum(SNAPSHOT_KINDS).optional().describe(aboutOf(pruneOptions.fields.kind).description),
  dry_run: z.boolean().optional().describe(aboutOf(pruneOptions.fields.dryRun).description),
  expected: z.array(z.string().min(1)).optional().describe(aboutOf(pruneOptions.fields.expected).description),
});
export const pruneUndoBodySchema = z.strictObject({
  keep: z.int().min(0).describe(aboutOf(pruneUndoOptions.fields.keep).description),
  dry_run: z.boolean().optional().describe(aboutOf(pruneUndoOptions.fields.dryRun).description),
  discard_writes: z.boolean().optional().describe(aboutOf(pruneUndoOptions.fields.discardWrites).description),
  expected: z
    .array(z.string().min(1))
    .optional()
    .describe(aboutOf(pruneUndoOptions.fields.expected).description),
});
export const runsQuerySchema = z.object({
  kind: z.enum(RECORD_KINDS).optional(),
  status: operationStateSchema.shape.status.optional(),
  limit: z.coerce.number().int().min(1).max(KEEP_RUNS).optional(),
});
export const restoreBodySchema = bodyOf(
  {
    ...restoreOptions.fields,
    // Clients of the first server send null where they mean the latest.
    source: restated(restoreOptions.fields.source, z.string().min(1).max(4096).nullable()),
  },
  {
    ...restoreFields,
    repository: z
      .string()
      .optional()
      .describe('Of the settings file: `source` is then a backup in it, by its id or `latest`'),
  },
);
export const undoBodySchema = bodyOf(startUndoOptions.fields, restoreFields);

/**
 * The options that a body carries, as the library calls them. `own` says what the server itself means by `background`.
 */
export function optionsIn<Body extends object>(
  body: Body | null | undefined,
  own: ThrottleOptions['background'],
): Omit<CamelCased<Body>, 'background'> & Pick<ThrottleOptions, 'background'> {
  const { background, ...options } = fromJson(body ?? {}) as { background?: boolean };
  return {
    ...options,
    ...(background !== undefined && { background: background && (own || true) }),
  } as ReturnType<typeof optionsIn<Body>>;
}

export const lifecycleBodySchema = z.strictObject({
  action: z.string().describe('`archive` or `export`'),
});

export const statusQuerySchema = z.object({
  max_age_ms: z.coerce
    .number()
    .int()
    .min(1)
    .max(Number.MAX_SAFE_INTEGER)
    .optional()
    .describe('The newest good snapshot must not be older than this'),
});

export const emptyBodySchema = z.strictObject({}).nullish();

export const handleParamsSchema = z.object({ id: z.string().describe('A handle: a UUID') });
export const nameParamsSchema = z.object({ name: z.string().min(1).describe('Name or id of a snapshot') });

export const fileParamsSchema = nameParamsSchema.extend({
  path: z.string().describe('An entry of the manifest, its slashes as `%2F`'),
});
