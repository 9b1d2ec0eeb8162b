import type { FastifyRequest } from 'fastify';
import { StillpointError } from '../../errors.ts';
import { directoryOf } from '../../operation/lifecycle.ts';
import { toJson } from '../../options/casing.ts';
import { restoreReplySchema } from '../../rpc/replies.ts';
import { refuseWhenClosing, type ServerContext } from '../assemble-server.ts';
import { refuseHeld } from '../refuse-held.ts';
import type { RestoreHold } from '../restore-hold.ts';
import { type App, replies } from '../route-types.ts';
import { requireHandle } from './backup-routes.ts';
import { settledState } from './last-runs.ts';
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
  });

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
      const { key, run, ...body } = request.body ?? {};
      const { source, ...chosen } = optionsIn(body, parts.options.backup.background);
      return begin(request, 'restore', { key, run }, () =>
        restores.startRestore({ ...chosen, source: source ?? undefined }),
      );
    },
  );

  app.post(
    '/api/admin/restore/undo',
    {
      schema: {
        summary: 'Bring back what the last restore replaced',
        body: undoBodySchema,
        response: replies(restoreReplySchema),
      },
    },
    async (request) => begin(request, 'undo', request.body ?? {}, () => restores.startUndo()),
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
