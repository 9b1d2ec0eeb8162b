import type { FastifyRequest } from 'fastify';
import { toJson } from '../../options/casing.ts';
import { restoreReplySchema } from '../../rpc/replies.ts';
import { refuseWhenClosing, type ServerContext } from '../assemble-server.ts';
import { type App, replies } from '../route-types.ts';
import { requireHandle } from './backup-routes.ts';
import { settledState } from './last-runs.ts';
import { emptyBodySchema, handleParamsSchema, optionsIn, restoreBodySchema } from './schemas.ts';

/** Restoring in place, around the open database, and undoing it. */
export function restoreRoutes(app: App, parts: ServerContext): void {
  const { restores } = parts;

  const begin = async (
    request: FastifyRequest,
    action: 'restore' | 'undo',
    start: () => Promise<{ id: string }>,
  ) => {
    refuseWhenClosing(parts);
    parts.lease.refuseOthers(undefined);
    const { id } = await start();
    parts.lastRuns.restoreId = id;
    parts.underWay.add(request, action, id, restores);
    return { handle: id, state: toJson(await restores.status(id)), metadata: null };
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
      const { source, ...chosen } = optionsIn(request.body, parts.options.backup.background);
      return begin(request, 'restore', () =>
        restores.startRestore({ ...chosen, source: source ?? undefined }),
      );
    },
  );

  app.post(
    '/api/admin/restore/undo',
    {
      schema: {
        summary: 'Bring back what the last restore replaced',
        body: emptyBodySchema,
        response: replies(restoreReplySchema),
      },
    },
    async (request) => begin(request, 'undo', () => restores.startUndo()),
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
    async ({ params }) => {
      const id = requireHandle('restore', params.id);
      const state = await settledState(restores, id);
      return toJson({ handle: id, state, metadata: await restores.metadata(id) });
    },
  );
}
