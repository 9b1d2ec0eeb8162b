import { timeLimit } from '../../env/time-limit.ts';
import { StillpointError } from '../../errors.ts';
import { directoryOf } from '../../operation/lifecycle.ts';
import {
  identityReplySchema,
  pinBodySchema,
  pinReplySchema,
  quiesceBodySchema,
  quiesceReplySchema,
  resumeBodySchema,
  resumeReplySchema,
} from '../../rpc/node.ts';
import { lockForReading } from '../../snapshot/source/folder-source.ts';
import { nameOf } from '../../snapshot/store/layout.ts';
import { noteDiscarded, setPin } from '../../snapshot/store/snapshot-pins.ts';
import { ensureStoreFile } from '../../snapshot/store/store-identity.ts';
import { VERSION } from '../../snapshot/version.ts';
import { refuseWhenClosing, type ServerContext } from '../assemble-server.ts';
import { findStored } from '../find-stored.ts';
import { refuseBusy, refuseHeld } from '../refuse-held.ts';
import { type App, replies } from '../route-types.ts';
import { whenGone } from '../when-gone.ts';
import { nameParamsSchema } from './schemas.ts';

/** What the controller of a fleet asks of a node: who it is, to stand still for a snapshot, and to keep one until it is fetched. */
export function nodeRoutes(app: App, parts: ServerContext): void {
  const { lease, lifecycle, environment, gate, options } = parts;

  app.get(
    '/api/admin/identity',
    {
      config: { load: 'light' },
      schema: { summary: 'Which database this is', response: replies(identityReplySchema) },
    },
    async () => {
      const { store_id } = await ensureStoreFile(environment, await directoryOf(lifecycle).layout());
      return { store_id, engine: options.backend.engine, version: VERSION };
    },
  );

  app.post(
    '/api/admin/quiesce',
    {
      schema: {
        summary: 'Refuse writes for a while, so that a snapshot can be taken',
        description:
          'Answers when the writes under way have ended and the database has made its checkpoint. Writes are taken again after `resume`, and at the latest when the lease runs out. With `epoch` it renews the lease.',
        body: quiesceBodySchema,
        response: replies(quiesceReplySchema),
      },
    },
    async (request, reply) => {
      const { run, ttl_ms: ttlMs, epoch, dry = false } = request.body;
      parts.audit.note(request, { id: run });
      refuseWhenClosing(parts);
      if (epoch !== undefined) {
        const renewed = lease.renew(run, epoch, ttlMs);
        return { epoch, expires_at_ms: renewed.expiresAtMs };
      }
      refuseHeld(parts, run);
      refuseBusy(parts);
      if (lifecycle.mode !== 'normal')
        throw new StillpointError('CONFLICT', `writes are blocked in ${lifecycle.mode} mode`);
      if (!gate.isSound)
        throw new StillpointError('UNAVAILABLE', 'the database is closed or takes no writes');
      if (dry) return { epoch: null, expires_at_ms: null };
      const taken = lease.take(run, ttlMs);
      const { signal, end } = timeLimit(ttlMs, parts.closing.signal, whenGone(reply));
      try {
        await gate.writesEnded(signal);
        await gate.read(async (database) => database.checkpoint?.({ signal }));
        lease.require(taken.epoch); // else it ran out meanwhile, and writes came
        return { epoch: taken.epoch, expires_at_ms: taken.expiresAtMs };
      } catch (error) {
        lease.withdraw(taken.epoch); // nobody knows its epoch
        const isTooLate =
          signal.aborted && (!(error instanceof StillpointError) || error.code === 'CANCELLED');
        if (!isTooLate) throw error;
        throw new StillpointError(
          'UNAVAILABLE',
          'the writes under way and the checkpoint did not end before the lease ran out',
          { cause: error },
        );
      } finally {
        end();
      }
    },
  );

  app.post(
    '/api/admin/resume',
    {
      config: { load: 'light' },
      schema: {
        summary: 'Take writes again',
        description:
          'Ends the lease of this epoch, also the second time. For any other epoch nothing changes.',
        body: resumeBodySchema,
        response: replies(resumeReplySchema),
      },
    },
    async (request) => {
      const { run, epoch } = request.body;
      parts.audit.note(request, { id: run });
      lease.release(run, epoch);
      return { resumed: true as const };
    },
  );

  app.post(
    '/api/admin/backups/:name/pin',
    {
      schema: {
        summary: 'Keep a snapshot until a moment',
        description: 'Nothing deletes it before. A later pin of the same run replaces an earlier one.',
        params: nameParamsSchema,
        body: pinBodySchema,
        response: replies(pinReplySchema),
      },
    },
    async (request) => {
      const { run, ttl_ms, discard = false } = request.body;
      parts.audit.note(request, { id: request.params.name });
      return parts.pinning.run(async () => {
        const location = await findStored(parts, request.params.name);
        const name = nameOf(location);
        // Whoever deletes a snapshot holds this lock alone, and looks for pins then.
        const lock = await lockForReading(environment, location);
        try {
          const expires_at_ms = environment.clock.nowMs() + ttl_ms;
          const layout = await directoryOf(lifecycle).layout();
          await setPin(environment, layout, { name, run, expires_at_ms });
          if (discard) await noteDiscarded(environment.fs, layout, { add: name });
          return { name, expires_at_ms: ttl_ms === 0 ? null : expires_at_ms };
        } finally {
          await lock?.release();
        }
      });
    },
  );
}
