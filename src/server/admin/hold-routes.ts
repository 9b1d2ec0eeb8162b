import * as z from 'zod';
import { StillpointError, toStillpointError } from '../../errors.ts';
import { LEVELS } from '../../options/choices.ts';
import {
  holdBodySchema,
  holdReplySchema,
  incomingFileReplySchema,
  incomingReplySchema,
  releaseBodySchema,
  releaseReplySchema,
} from '../../rpc/hold.ts';
import { refuseWhenClosing, type ServerContext } from '../assemble-server.ts';
import { refuseBusy, refuseHeld } from '../refuse-held.ts';
import { type App, replies } from '../route-types.ts';
import { whenGone } from '../when-gone.ts';

/** A run's name, which is a folder here. */
const runParamsSchema = z.object({
  run: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/)
    .describe('Of the restore'),
});
const fileParams = runParamsSchema.extend({
  path: z.string().describe('An entry of the manifest, or the manifest itself, its slashes as `%2F`'),
});
const offset = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

/** What the restore of a fleet asks of a node: to be held without writes, and to take the snapshot that is to be restored. */
export function holdRoutes(app: App, parts: ServerContext): void {
  const { hold, lease, gate, lifecycle, incoming } = parts;

  const take = async (run: string, epoch: string | undefined) => {
    if (epoch !== undefined) lease.require(epoch, run);
    await hold.take(run);
    if (epoch === undefined) return;
    try {
      lease.require(epoch, run); // else it ran out meanwhile, and writes came
    } catch (error) {
      await hold.release(run);
      throw error;
    }
    lease.withdraw(epoch);
  };

  app.post(
    '/api/admin/hold',
    {
      schema: {
        summary: 'Refuse writes until `release`, for the restore of a fleet',
        description:
          'Answers when the writes under way have ended. Unlike the lease of `quiesce` it has no end of its own and outlives a restart. With the epoch of a lease of this run it takes the place of that lease, without a moment between the two. Also tells what the run has done here.',
        body: holdBodySchema,
        response: replies(holdReplySchema),
      },
    },
    async (request, reply) => {
      const { run, epoch, dry = false } = request.body;
      parts.audit.note(request, { id: run });
      refuseWhenClosing(parts);
      refuseHeld(parts, run);
      if (!dry && hold.run !== run) {
        refuseBusy(parts);
        if (lifecycle.mode !== 'normal')
          throw new StillpointError('CONFLICT', `writes are blocked in ${lifecycle.mode} mode`);
        if (!gate.isSound) throw new StillpointError('UNAVAILABLE', 'the database is closed');
        await take(run, epoch);
      }
      if (!dry) await gate.writesEnded(AbortSignal.any([parts.closing.signal, whenGone(reply)]));
      refuseBusy(parts); // a restore that is under way is neither done nor not
      return hold.report(run);
    },
  );

  app.post(
    '/api/admin/release',
    {
      config: { load: 'light' },
      schema: {
        summary: 'Take writes again after `hold`',
        description: 'Also the second time. While another run holds the server nothing changes.',
        body: releaseBodySchema,
        response: replies(releaseReplySchema),
      },
    },
    async (request) => {
      const { run } = request.body;
      parts.audit.note(request, { id: run });
      if (hold.run === run) refuseBusy(parts);
      await hold.release(run);
      return { released: true as const };
    },
  );

  app.get(
    '/api/admin/incoming/:run/files/:path',
    {
      schema: {
        summary: 'How much of a file has arrived',
        params: fileParams,
        response: replies(incomingFileReplySchema),
      },
    },
    async ({ params }) => ({ bytes: await incoming.length(params.run, params.path) }),
  );

  app.post(
    '/api/admin/incoming/:run/prove',
    {
      schema: {
        summary: 'Prove the snapshot that has arrived',
        description: 'Answers at once how far the proof is; ask again until it is over.',
        params: runParamsSchema,
        body: z.strictObject({ level: z.enum(LEVELS).optional() }).nullish(),
        response: replies(incomingReplySchema),
      },
    },
    async ({ params, body }) => {
      refuseWhenClosing(parts);
      const proof = await incoming.prove(params.run, body?.level, parts.closing.signal);
      return { ...proof, location: await incoming.location(params.run) };
    },
  );

  app.delete(
    '/api/admin/incoming/:run',
    {
      schema: {
        summary: 'Remove what has arrived',
        params: runParamsSchema,
        response: replies(releaseReplySchema),
      },
    },
    async (request) => {
      parts.audit.note(request, { id: request.params.run });
      refuseBusy(parts);
      await incoming.remove(request.params.run);
      return { released: true as const };
    },
  );
}

/** The one route of these whose body is bytes. */
export function incomingPartRoute(app: App, parts: ServerContext): void {
  app.put(
    '/api/admin/incoming/:run/files/:path',
    {
      schema: {
        summary: 'Send a part of a file of a snapshot that is to be restored',
        description:
          'At most 4 MiB, at the byte `from`; what nobody sends is zero. With `size` the file is then so long. The first part of another run removes what has arrived of this one.',
        consumes: ['application/octet-stream'],
        params: fileParams,
        querystring: z.object({
          from: offset.default(0).describe('Where the part begins'),
          size: offset.optional().describe('How long the file is, with its last part'),
        }),
        body: z.any().describe('The bytes'),
        response: replies(incomingFileReplySchema),
      },
    },
    async (request) => {
      const { params, query, body } = request;
      refuseWhenClosing(parts);
      refuseHeld(parts, params.run);
      const bytes = (body as Buffer | undefined) ?? Buffer.alloc(0);
      try {
        return { bytes: await parts.incoming.write(params.run, params.path, { ...query, bytes }) };
      } catch (error) {
        throw toStillpointError(error);
      }
    },
  );
}
