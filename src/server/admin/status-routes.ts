import { resolve } from 'node:path';
import * as z from 'zod';
import { warn } from '../../env/safe-calls.ts';
import { StillpointError } from '../../errors.ts';
import type { LifecycleMode } from '../../operation/lifecycle.ts';
import { toJson } from '../../options/casing.ts';
import {
  ACTIONS,
  capabilitiesReplySchema,
  healthReplySchema,
  metricsReplySchema,
  statusReplySchema,
} from '../../rpc/replies.ts';
import { VERSION } from '../../snapshot/version.ts';
import type { ServerContext } from '../assemble-server.ts';
import { formatFor } from '../prometheus.ts';
import type { RecoveryState } from '../recovery.ts';
import { type App, replies } from '../route-types.ts';
import { settledState } from './last-runs.ts';
import { statusQuerySchema } from './schemas.ts';

/** What the server is and does at this moment. Changes nothing. */
export function statusRoutes(app: App, parts: ServerContext): void {
  const { lifecycle, gate, metrics, backups, restores, lastRuns } = parts;

  app.get(
    '/api/admin/status',
    {
      config: { load: 'light' },
      schema: {
        summary: 'Everything at a glance',
        querystring: statusQuerySchema,
        response: replies(statusReplySchema),
      },
    },
    async ({ query }) => {
      const { mode } = lifecycle;
      const { backupId, restoreId } = lastRuns;
      const recovery = recoveryState(parts.recovery.last, mode);
      const isWell = mode === 'normal' && gate.isSound && recovery?.outcome === 'success';
      const reading = metrics.read();
      const safety = await safetyOf(parts, query.max_age_ms);
      const isSound = safety !== null && safety.total.damaged === 0;
      return {
        version: VERSION,
        uptime_secs: metrics.uptimeSeconds,
        connections: reading.active_connections,
        queries_per_second: reading.qps,
        overall_status: isWell && isSound ? ('ok' as const) : ('degraded' as const),
        read_only: mode === 'read_only',
        maintenance: mode === 'maintenance',
        recovery_state: recovery,
        backup_state: backupId === undefined ? null : toJson(await settledState(backups, backupId)),
        restore_state: restoreId === undefined ? null : toJson(await settledState(restores, restoreId)),
        restore_metadata: restoreId === undefined ? null : toJson(await restores.metadata(restoreId)),
        last_recovery_at_ms: recovery?.finished_at_ms ?? null,
        last_backup_at_ms: lastRuns.lastBackupAtMs,
        last_restore_at_ms: lastRuns.lastRestoreAtMs,
        mode,
        quiesced: describeHolder(parts),
        engine: parts.options.backend.engine,
        data_dir: resolve(parts.options.dataDir),
        database_failure: failureOf(parts),
        safety,
      };
    },
  );

  app.get(
    '/api/admin/health',
    {
      config: { load: 'light' },
      schema: {
        summary: 'Whether requests are served',
        description: '503 while the database is closed.',
        response: replies(healthReplySchema),
      },
    },
    async () => {
      if (!gate.isOpen) throw new StillpointError('UNAVAILABLE', 'the database is closed');
      return { status: 'ok' as const, message: 'ready' as const };
    },
  );

  app.get(
    '/api/admin/metrics',
    {
      config: { load: 'light' },
      schema: {
        summary: 'Load and memory',
        description:
          'As Prometheus reads it where the `Accept` header asks for `text/plain` or `application/openmetrics-text`.',
        response: {
          ...replies({
            description: 'The last seconds',
            content: {
              'application/json': { schema: metricsReplySchema },
              'text/plain': { schema: z.string() },
              'application/openmetrics-text': { schema: z.string() },
            },
          }),
        },
      },
    },
    async (request, reply) => {
      const format = formatFor(request.headers.accept);
      if (format === undefined) return metrics.read() as never;
      const { type, text } = await parts.prometheus.text(format);
      return reply.type(type).send(text as never);
    },
  );

  app.get(
    '/api/admin/capabilities',
    {
      config: { load: 'light' },
      schema: {
        summary: 'What is possible in the present mode',
        response: replies(capabilitiesReplySchema),
      },
    },
    async () => {
      const allowed_actions = ALLOWED[lifecycle.mode];
      return {
        scope: lifecycle.mode === 'normal' ? ('full' as const) : ('restricted' as const),
        allowed_actions,
      };
    },
  );
}

/** A restore owns the data directory in `maintenance`; nothing else is admitted then. */
const ALLOWED: Readonly<Record<LifecycleMode, readonly (typeof ACTIONS)[number][]>> = {
  normal: ACTIONS,
  read_only: ['read', 'archive', 'restore', 'backup', 'export'],
  maintenance: [],
};

/** Null where the database takes writes, as far as is known. */
function failureOf({ gate: { failure } }: ServerContext) {
  if (failure === undefined) return null;
  const { code, message, hint } = failure;
  return { code, message, hint };
}

/** Null when the lifecycle folder cannot be looked at: the rest of the status is told all the same. */
async function safetyOf({ safety }: ServerContext, maxAgeMs: number | undefined) {
  try {
    return toJson(await safety.status(maxAgeMs));
  } catch (error) {
    warn(error);
    return null;
  }
}

/** Without the epoch: that is the secret of whoever has the lease. */
function describeHolder({ lease: { current }, hold }: ServerContext) {
  if (current !== undefined) return { run: current.run, expires_at_ms: current.expiresAtMs };
  return hold.run === undefined ? null : { run: hold.run, expires_at_ms: null };
}

function recoveryState(last: RecoveryState | null, mode: LifecycleMode): RecoveryState | null {
  if (last?.outcome !== 'success' || mode !== 'read_only') return last;
  return { ...last, outcome: 'read_only', reason: 'writes are blocked in read_only mode' };
}
