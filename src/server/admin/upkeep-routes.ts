import { Snapshots } from '../../coordinator/snapshots.ts';
import { fromJson, toJson } from '../../options/casing.ts';
import {
  pruneReplySchema,
  pruneUndoReplySchema,
  runsReplySchema,
  verifyAllReplySchema,
} from '../../rpc/upkeep.ts';
import { refuseWhenClosing, type ServerContext } from '../assemble-server.ts';
import { refuseBusy, refuseHeld } from '../refuse-held.ts';
import { type App, replies } from '../route-types.ts';
import { whenGone } from '../when-gone.ts';
import {
  optionsIn,
  pruneBodySchema,
  pruneUndoBodySchema,
  runsQuerySchema,
  verifyAllBodySchema,
} from './schemas.ts';

/** What keeps the snapshots in order: proving them all again, removing old ones, looking at what was done. */
export function upkeepRoutes(app: App, parts: ServerContext): void {
  const { options, lifecycle } = parts;
  const snapshots = new Snapshots({ dataDir: options.dataDir, lifecycle });

  app.get(
    '/api/admin/runs',
    {
      schema: {
        summary: 'The runs on record, newest first',
        description:
          'Snapshots, archives, exports, restores and undos, and what was verified, pruned and deleted; also of earlier processes.',
        querystring: runsQuerySchema,
        response: replies(runsReplySchema),
      },
    },
    async ({ query }) => toJson(await snapshots.runs(query)),
  );

  app.post(
    '/api/admin/verify',
    {
      schema: {
        summary: 'Read all snapshots again and report all that is wrong with them',
        description:
          'Answers when it is done; it ends when the client leaves, and what was read until then is on record. With `max_bytes` and `older_than_ms` every call goes on where the last one ended.',
        body: verifyAllBodySchema,
        response: replies(verifyAllReplySchema),
      },
    },
    async (request, reply) => {
      refuseWhenClosing(parts);
      const chosen = optionsIn(request.body, options.backup.background);
      const signal = AbortSignal.any([parts.closing.signal, whenGone(reply)]);
      try {
        return toJson(await snapshots.verifyAll({ ...chosen, signal }));
      } finally {
        parts.safety.forget();
      }
    },
  );

  app.post(
    '/api/admin/prune',
    {
      schema: {
        summary: 'Remove all but the newest snapshots',
        description:
          'As `stillpoint prune`: those that `latest` and `latest-good` name stay, and those that are being read or are pinned.',
        body: pruneBodySchema,
        response: replies(pruneReplySchema),
      },
    },
    async (request) => {
      refuseWhenClosing(parts);
      refuseHeld(parts, undefined);
      const { dryRun = false, ...chosen } = fromJson(request.body);
      refuseBusy(parts);
      const pruned = await snapshots.prune({ ...chosen, dryRun });
      if (dryRun) parts.audit.note(request, { outcome: 'dry-run' });
      parts.safety.forget();
      return toJson({ dryRun, ...pruned });
    },
  );

  app.post(
    '/api/admin/prune/undo',
    {
      schema: {
        summary: 'Give up undo folders: what restores in place replaced',
        description:
          'As `stillpoint prune --undo`. What goes cannot be brought back; a folder that may hold writes that no snapshot has stays, unless `discard_writes`. Ask with `dry_run` first.',
        body: pruneUndoBodySchema,
        response: replies(pruneUndoReplySchema),
      },
    },
    async (request) => {
      refuseWhenClosing(parts);
      refuseHeld(parts, undefined);
      refuseBusy(parts);
      const { dryRun = false, ...how } = fromJson(request.body);
      const pruned = await snapshots.pruneUndo({ ...how, dryRun });
      if (dryRun) parts.audit.note(request, { outcome: 'dry-run' });
      parts.safety.forget();
      return toJson({ dryRun, ...pruned });
    },
  );
}
