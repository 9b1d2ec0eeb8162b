import * as z from 'zod';
import { StillpointError } from '../../errors.ts';
import {
  compactionReplySchema,
  errorSchema,
  exportReplySchema,
  lifecycleReplySchema,
  unknownActionSchema,
} from '../../rpc/replies.ts';
import { refuseWhenClosing, type ServerContext } from '../assemble-server.ts';
import { type App, replies } from '../route-types.ts';
import { startSnapshot } from './backup-routes.ts';
import { emptyBodySchema, lifecycleBodySchema } from './schemas.ts';

/** Archive, export and compaction: these answer when the work is done. */
export function lifecycleRoutes(app: App, parts: ServerContext): void {
  app.post(
    '/api/admin/lifecycle',
    {
      schema: {
        summary: 'Write the data, proven, into the archive or the export folder',
        body: lifecycleBodySchema,
        response: {
          ...replies(lifecycleReplySchema),
          400: z.union([unknownActionSchema, errorSchema]),
        },
      },
    },
    async (request, reply) => {
      const { action } = request.body;
      if (action !== 'archive' && action !== 'export') {
        parts.audit.note(request, { code: 'INVALID_REQUEST' });
        return reply.code(400).send({ status: 'Error', message: 'Unknown lifecycle action.' });
      }
      parts.audit.note(request, { action });
      const { id, location } = await startSnapshot(parts, request, action);
      await parts.backups.finished(id);
      const done = action === 'archive' ? 'Archived' : 'Exported';
      return { status: 'OK' as const, message: `${done} data to ${location}` };
    },
  );

  app.post(
    '/api/admin/export',
    {
      schema: {
        summary: 'Write the data, proven, into the export folder',
        body: emptyBodySchema,
        response: replies(exportReplySchema),
      },
    },
    async (request) => {
      const { id, location } = await startSnapshot(parts, request, 'export');
      await parts.backups.finished(id);
      return { status: 'OK' as const, location };
    },
  );

  app.post(
    '/api/admin/compaction',
    {
      schema: {
        summary: 'Merge what the database keeps in several places',
        body: emptyBodySchema,
        response: replies(compactionReplySchema),
      },
    },
    async () => {
      refuseWhenClosing(parts);
      return parts.gate.write(async (database) => {
        if (database.compact === undefined)
          return { success: false, message: 'this engine compacts by itself' };
        try {
          await database.compact();
          return { success: true, message: 'Compaction finished.' };
        } catch (error) {
          if (!(error instanceof StillpointError)) throw error;
          return { success: false, message: error.message };
        }
      });
    },
  );
}
