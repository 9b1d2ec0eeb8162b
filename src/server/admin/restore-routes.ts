import type { FastifyRequest } from 'fastify';
import * as z from 'zod';
import { StillpointError } from '../../errors.ts';
import { directoryOf } from '../../operation/lifecycle.ts';
import { toJson } from '../../options/casing.ts';
import { restoreReplySchema } from '../../rpc/replies.ts';
import { refuseWhenClosing, type ServerContext } from '../assemble-server.ts';
import { refuseHeld } from '../refuse-held.ts';
import type { RestoreHold } from '../restore-hold.ts';
import { type App, content, replies } from '../route-types.ts';
import { requireHandle } from './backup-routes.ts';
import { streamRun } from './events.ts';
import { resultOf, settledState } from './last-runs.ts';
import { requirePlans } from './offsite-routes.ts';
import { handleParamsSchema, optionsIn, restoreBodySchema, undoBodySchema } from './schemas.ts';

/** Restoring in place, around the open database, and undoing it. */
export function restoreRoutes(app: App, parts: ServerContext): void {
  const { restores } = parts;

  const begin = async (
    request: FastifyRequest,
    action: 'restore' | 'undo',
    { key, run }: Held,
    start: () => Promise<{ id: string }>,
  ) => {
    const admit = async () => {
      refuseWhenClosing(parts);
      if (run !== undefined) await requireTurn(parts.hold, run, action);
      refuseHeld(parts, run);
      if (run !== undefined && action === 'undo') await parts.hold.noteUndo();
      const { id } = await start();
      parts.lastRuns.restoreId = id;
      parts.underWay.add(request, action, id, restores);
      return id;
    };
    if (key === undefined) return describe(await admit());
    const layout = await directoryOf(parts.lifecycle).layout();
    return describe(await parts.keys.run(layout, key, { action, body: request.body }, admit));
  };

  const describe = async (handle: string) => ({
    handle,
    state: toJson(await restores.status(handle)),
    metadata: null,
    result: null,
  });

  const whole = async (id: string) => {
    const state = await settledState(restores, id);
    const metadata = await restores.metadata(id);
    return { ...toJson({ handle: id, state, metadata }), result: await resultOf(restores, id, state) };
  };

  app.post(
    '/api/admin/restore',
    {
      schema: {
        summary: 'Start a restore in place',
        description:
          'Answers at once. The database is closed and opened again behind it; what it held moves to the undo folder.',
        body: restoreBodySchema,
        response: replies(restoreReplySchema),
      },
    },
    async (request) => {
      const { key, run, repository, ...body } = request.body ?? {};
      const { source, ...chosen } = optionsIn(body, parts.options.backup.background);
      return begin(request, 'restore', { key, run }, () =>
        restores.startRestore({
          ...chosen,
          source:
            repository === undefined
              ? (source ?? undefined)
              : () => requirePlans(parts).source(repository, source ?? 'latest'),
        }),
      );
    },
  );

  app.post(
    '/api/admin/restore/undo',
    {
      schema: {
        summary: 'Bring back what a restore replaced: the last one, or that of the undo folder `to`',
        body: undoBodySchema,
        response: replies(restoreReplySchema),
      },
    },
    async (request) => {
      const { key, run, to } = request.body ?? {};
      if (run !== undefined && to !== undefined)
        throw new StillpointError('INVALID_REQUEST', 'a `run` takes back its own restore: leave `to` out');
      return begin(request, 'undo', { key, run }, () => restores.startUndo(to === undefined ? {} : { to }));
    },
  );

  app.get(
    '/api/admin/restore/:id',
    {
      config: { load: 'light' },
      schema: {
        summary: 'How far a restore is',
        params: handleParamsSchema,
        response: replies(restoreReplySchema),
      },
    },
    async ({ params }) => whole(requireHandle('restore', params.id)),
  );

  app.get(
    '/api/admin/restore/:id/events',
    {
      config: { load: 'follow' },
      schema: {
        summary: 'Follow a restore',
        description: 'Server-sent events `state` and `progress`; ends with the run.',
        params: handleParamsSchema,
        response: replies(
          content('text/event-stream', z.string(), 'The data of each event is a restore reply'),
        ),
      },
    },
    async ({ params }, reply) => {
      const id = requireHandle('restore', params.id);
      const stream = streamRun(parts, {
        coordinator: restores,
        feed: parts.restoreFeed,
        id,
        first: await restores.status(id),
        describe: (state) => ({ handle: id, state: toJson(state), metadata: null, result: null }),
        whole: () => whole(id),
      });
      reply.header('cache-control', 'no-store').type('text/event-stream; charset=utf-8');
      return reply.send(stream as never);
    },
  );
}

interface Held {
  readonly key?: string | undefined;
  /** Which holds the database. */
  readonly run?: string | undefined;
}

/** A held database is restored once, and that restore is taken back once: a second time would bring back the other state. */
async function requireTurn(hold: RestoreHold, run: string, action: 'restore' | 'undo'): Promise<void> {
  hold.require(run);
  const { state } = await hold.report(run);
  if (state === (action === 'restore' ? 'before' : 'restored')) return;
  throw new StillpointError('CONFLICT', `the state of this database under the restore ${run} is "${state}"`);
}
