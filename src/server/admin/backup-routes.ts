import type { FastifyRequest } from 'fastify';
import * as z from 'zod';
import { verifySnapshot } from '../../coordinator/snapshot-by-path.ts';
import { Snapshots } from '../../coordinator/snapshots.ts';
import { StillpointError } from '../../errors.ts';
import { directoryOf } from '../../operation/lifecycle.ts';
import { isFinished } from '../../operation/operation-state.ts';
import { toJson } from '../../options/casing.ts';
import type { SnapshotKind } from '../../options/choices.ts';
import type { StartBackupOptions } from '../../options/snapshot.ts';
import { backupReplySchema, reportSchema, snapshotListSchema } from '../../rpc/replies.ts';
import { deletedSchema } from '../../rpc/upkeep.ts';
import { refuseWhenClosing, type ServerContext } from '../assemble-server.ts';
import { deleteDiscarded } from '../discard.ts';
import { refuseBusy, refuseHeld } from '../refuse-held.ts';
import { type App, content, replies } from '../route-types.ts';
import { whenGone } from '../when-gone.ts';
import { streamRun } from './events.ts';
import { resultOf, settledState } from './last-runs.ts';
import {
  backupBodySchema,
  handleParamsSchema,
  nameParamsSchema,
  optionsIn,
  verifyBodySchema,
} from './schemas.ts';

/** Snapshots: take, watch, cancel, verify, list, delete. */
export function backupRoutes(app: App, parts: ServerContext): void {
  const { backups, options, environment, lifecycle } = parts;
  const snapshots = new Snapshots({ dataDir: options.dataDir, lifecycle });

  const describe = async (id: string) => {
    const state = await settledState(backups, id);
    const location = await backups.location(id);
    return { handle: id, location, state: toJson(state), result: await resultOf(backups, id, state) };
  };

  app.post(
    '/api/admin/backup',
    {
      schema: {
        summary: 'Start a snapshot',
        description: 'Answers at once; the work goes on behind it.',
        body: backupBodySchema,
        response: replies(backupReplySchema),
      },
    },
    async (request) => {
      const { key, epoch, run, ...body } = request.body ?? {};
      const chosen = optionsIn(body, options.backup.background);
      const begin = async () => {
        const { id } = await startSnapshot(parts, request, 'backup', chosen, { epoch, run });
        parts.lastRuns.backupId = id;
        return id;
      };
      if (key === undefined) return describe(await begin());
      const id = await parts.keys.run(await directoryOf(lifecycle).layout(), key, request.body, begin);
      parts.audit.note(request, { id });
      return describe(id).catch((error) => {
        if (!(error instanceof StillpointError) || error.code !== 'NOT_FOUND') throw error;
        throw new StillpointError('KEY_FORGOTTEN', 'the run of this key is not on record any more', {
          cause: error,
        });
      });
    },
  );

  app.get(
    '/api/admin/backup/:id',
    {
      config: { load: 'light' },
      schema: {
        summary: 'How far a snapshot is',
        params: handleParamsSchema,
        response: replies(backupReplySchema),
      },
    },
    async ({ params }) => describe(requireHandle('backup', params.id)),
  );

  app.delete(
    '/api/admin/backup/:id',
    {
      config: { load: 'light' },
      schema: {
        summary: 'Cancel a snapshot',
        description: 'Answers when it has ended. One that had ended before stays as it is.',
        params: handleParamsSchema,
        response: replies(backupReplySchema),
      },
    },
    async (request) => {
      const id = requireHandle('backup', request.params.id);
      parts.audit.note(request, { id });
      const hadEnded = isFinished(await backups.status(id));
      if (!hadEnded) {
        backups.cancel(id);
        await backups.finished(id).catch(() => undefined); // its end is in its state
      }
      const described = await describe(id);
      if (hadEnded || described.state.status !== 'cancelled') parts.audit.note(request, { outcome: 'ended' });
      return described;
    },
  );

  app.get(
    '/api/admin/backup/:id/events',
    {
      config: { load: 'follow' },
      schema: {
        summary: 'Follow a snapshot',
        description: 'Server-sent events `state` and `progress`; ends with the run.',
        params: handleParamsSchema,
        response: replies(
          content('text/event-stream', z.string(), 'The data of each event is a backup reply'),
        ),
      },
    },
    async ({ params }, reply) => {
      const id = requireHandle('backup', params.id);
      const location = await backups.location(id);
      const stream = streamRun(parts, {
        coordinator: backups,
        feed: parts.backupFeed,
        id,
        first: await backups.status(id),
        describe: (state) => ({ handle: id, location, state: toJson(state), result: null }),
        whole: () => describe(id),
      });
      reply.header('cache-control', 'no-store').type('text/event-stream; charset=utf-8');
      return reply.send(stream as never);
    },
  );

  app.post(
    '/api/admin/backup/:id/verify',
    {
      schema: {
        summary: 'Read a snapshot again and report all that is wrong with it',
        params: handleParamsSchema,
        body: verifyBodySchema,
        response: replies(reportSchema),
      },
    },
    async (request, reply) => {
      const id = requireHandle('backup', request.params.id);
      const { status } = await backups.status(id);
      if (status !== 'completed')
        throw new StillpointError('CONFLICT', `there is nothing to verify: the backup is ${status}`);
      const location = await backups.location(id);
      const chosen = optionsIn(request.body, options.backup.background);
      const signal = AbortSignal.any([parts.closing.signal, whenGone(reply)]);
      try {
        return toJson(await verifySnapshot(location, { ...chosen, environment, signal }));
      } finally {
        parts.safety.forget();
      }
    },
  );

  app.get(
    '/api/admin/backups',
    { schema: { summary: 'The snapshots, oldest first', response: replies(snapshotListSchema) } },
    async () => toJson(await parts.safety.list()),
  );

  app.post(
    '/api/admin/backups/:name/verify',
    {
      schema: {
        summary: 'Read a snapshot again, by its name, and report all that is wrong with it',
        params: nameParamsSchema,
        body: verifyBodySchema,
        response: replies(reportSchema),
      },
    },
    async (request, reply) => {
      const { name } = request.params;
      parts.audit.note(request, { id: name });
      const chosen = optionsIn(request.body, options.backup.background);
      const signal = AbortSignal.any([parts.closing.signal, whenGone(reply)]);
      try {
        return toJson(await snapshots.verify(name, { ...chosen, signal }));
      } finally {
        parts.safety.forget();
      }
    },
  );

  app.delete(
    '/api/admin/backups/:name',
    {
      schema: {
        summary: 'Delete a snapshot',
        description: 'The newest proven one, and one that is being read or is pinned, are refused.',
        params: nameParamsSchema,
        response: replies(deletedSchema),
      },
    },
    async (request) => {
      const { name } = request.params;
      parts.audit.note(request, { id: name });
      refuseWhenClosing(parts);
      refuseHeld(parts, undefined);
      refuseBusy(parts);
      const deleted = await snapshots.delete(name);
      parts.safety.forget();
      return toJson(deleted);
    },
  );
}

/**
 * Admits a snapshot of any kind; closing the server cancels it. With an epoch it fails with `LEASE_LOST` unless that lease lives, and
 * does not count unless it lives when its state is fixed.
 */
export async function startSnapshot(
  parts: ServerContext,
  request: FastifyRequest,
  kind: SnapshotKind,
  options: Omit<StartBackupOptions, 'kind' | 'signal'> = {},
  { epoch, run }: { readonly epoch?: string | undefined; readonly run?: string | undefined } = {},
): Promise<{ id: string; location: string }> {
  refuseWhenClosing(parts);
  if (run !== undefined) parts.hold.require(run);
  if (epoch === undefined) refuseHeld(parts, run);
  else parts.lease.require(epoch);
  if (parts.lifecycle.running === undefined) await deleteDiscarded(parts);
  const capturing = epoch === undefined ? undefined : { epoch };
  // While something runs the start is refused, and what runs keeps its epoch.
  if (parts.lifecycle.running === undefined) parts.lease.capturing = capturing;
  // The snapshots of the server's own plans need no lease.
  const forget = () => {
    if (parts.lease.capturing === capturing) parts.lease.capturing = undefined;
  };
  try {
    const { id, location } = await parts.backups.startBackup({ pace: 'quiet', ...options, kind });
    parts.underWay.add(request, kind, id, parts.backups);
    parts.backups.finished(id).then(forget, forget);
    return { id, location };
  } catch (error) {
    forget();
    throw error;
  }
}

const HANDLE = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** `INVALID_REQUEST` for what is no UUID. */
export function requireHandle(kind: 'backup' | 'restore', id: string): string {
  if (HANDLE.test(id)) return id.toLowerCase();
  throw new StillpointError('INVALID_REQUEST', `invalid ${kind} handle`);
}
