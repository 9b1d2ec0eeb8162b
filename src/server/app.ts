import fastify, {
  type FastifyError,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerOptions,
} from 'fastify';
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { type Clock, isoTime } from '../env/clock.ts';
import { StillpointError, systemCode } from '../errors.ts';
import { PART_BYTES } from '../rpc/hold.ts';
import type { Environment } from '../snapshot/environment.ts';
import { backupRoutes } from './admin/backup-routes.ts';
import { holdRoutes, incomingPartRoute } from './admin/hold-routes.ts';
import { lifecycleRoutes } from './admin/lifecycle-routes.ts';
import { nodeRoutes } from './admin/node-routes.ts';
import { offsiteRoutes } from './admin/offsite-routes.ts';
import { describeRoutes, openApiRoute } from './admin/openapi.ts';
import { restoreRoutes } from './admin/restore-routes.ts';
import { statusRoutes } from './admin/status-routes.ts';
import { storedSnapshotRoutes } from './admin/stored-snapshot-routes.ts';
import { upkeepRoutes } from './admin/upkeep-routes.ts';
import type { ServerContext } from './assemble-server.ts';
import type { Audit } from './audit.ts';
import { admission } from './auth.ts';
import { Connections } from './connections.ts';
import { consolePage } from './console-page.ts';
import {
  answerBrokenRequest,
  CORRELATION_HEADER,
  describeAborted,
  describeError,
  errorReply,
} from './envelope.ts';
import { routeUrl } from './kv/keys.ts';
import { keyRoutes, valueRoute } from './kv/routes.ts';
import { splitQuery } from './kv/schemas.ts';
import { lineWriter } from './line-writer.ts';
import { watchMethods } from './methods.ts';
import type { Metrics } from './metrics.ts';
import type { ResolvedOptions } from './options.ts';
import type { Prometheus } from './prometheus.ts';
import { RequestPlaces } from './request-limits.ts';
import type { App } from './route-types.ts';
import type { ReadTls } from './tls.ts';

/** The HTTP side of a server: what holds for every request, and the routes. Closing the app closes the database too. */
export async function createApp(parts: ServerContext, tls: ReadTls | undefined): Promise<App> {
  const { limits } = parts.options;
  const app = newApp(parts, tls);
  closeWithApp(app, parts);
  await describeRoutes(app);
  consolePage(app, 'server');
  await app.register(async (scope: App) => {
    readBodiesAsJson(scope, limits.adminBodyBytes);
    folderRoutes(scope, parts);
    lifecycleRoutes(scope, parts);
    nodeRoutes(scope, parts);
    holdRoutes(scope, parts);
    openApiRoute(scope);
  });
  await app.register(async (scope: App) => {
    readBodiesAsJson(scope, limits.bodyBytes);
    keyRoutes(scope, parts);
  });
  await app.register(async (scope: App) => {
    readBodiesAsBytes(scope, limits.bodyBytes);
    valueRoute(scope, parts);
  });
  await app.register(async (scope: App) => {
    readBodiesAsBytes(scope, PART_BYTES);
    incomingPartRoute(scope, parts);
  });
  await app.ready();
  return app;
}

/** What can be asked of a data directory whether or not a server has its database open. */
export function folderRoutes(scope: App, parts: ServerContext): void {
  backupRoutes(scope, parts);
  restoreRoutes(scope, parts);
  statusRoutes(scope, parts);
  upkeepRoutes(scope, parts);
  storedSnapshotRoutes(scope, parts);
  offsiteRoutes(scope, parts);
}

/** What every request needs, whatever the routes are about. */
export interface RequestParts {
  readonly options: Pick<ResolvedOptions, 'limits' | 'apiKey' | 'log'>;
  readonly environment: Environment;
  readonly audit: Audit;
  readonly metrics: Metrics;
  readonly prometheus: Pick<Prometheus, 'answered'>;
}

/** An app without routes: limits, admission, errors. */
export function newApp(parts: RequestParts, tls: ReadTls | undefined): App {
  const { options, environment } = parts;
  const { limits } = options;
  const answer = answerErrors(parts);
  const transport = {
    maxHeaderSize: limits.headerBytes,
    headersTimeout: Math.min(limits.headerTimeoutMs, limits.requestTimeoutMs),
    handshakeTimeout: limits.headerTimeoutMs,
    // How often the time limits are looked at.
    connectionsCheckingInterval: Math.min(1000, limits.headerTimeoutMs, limits.requestTimeoutMs),
  };
  const serverOptions = {
    genReqId: ({ headers }) => correlationId(headers) ?? environment.newId(),
    rewriteUrl: ({ method, url }) => routeUrl(method, url ?? '/'),
    bodyLimit: limits.adminBodyBytes,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.idleTimeoutMs,
    ...(tls === undefined ? { http: transport } : { https: { ...transport, ...tls } }),
    // A key reaches the router as hexadecimal digits; how long it may be is told by its route.
    routerOptions: { maxParamLength: 4 * limits.headerBytes, querystringParser: splitQuery },
    // What still comes on an open connection is answered; the database is closed after it.
    return503OnClosing: false,
    exposeHeadRoutes: false,
    frameworkErrors: (error, request, reply) => {
      reply.header(CORRELATION_HEADER, request.id);
      answer(error, request, reply);
    },
    clientErrorHandler: (error, socket) => answerBrokenRequest(error, socket, environment),
  } satisfies FastifyServerOptions & { https?: object };
  const app: App = fastify(serverOptions as FastifyServerOptions).withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler<FastifyError>(answer);
  admitAndCount(app, parts);
  const answerWrongMethod = watchMethods(app);
  app.setNotFoundHandler((request, reply) => {
    if (answerWrongMethod(request, reply)) return;
    throw new StillpointError('NOT_FOUND', 'there is no such route', {
      hint: '`GET /api/admin/openapi.json` describes all of them.',
    });
  });
  return app;
}

/** Echoes what the client sent, so that its logs and ours can be joined; an endless one is not taken over. */
function correlationId(headers: Readonly<Record<string, string | string[] | undefined>>): string | undefined {
  for (const name of [CORRELATION_HEADER, 'x-request-id']) {
    const value = headers[name];
    if (typeof value === 'string' && value !== '' && value.length <= 256) return value;
  }
  return undefined;
}

/** No other page takes an answer for a script or an image of its own. */
const FOR_BROWSERS = {
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
};

function admitAndCount(app: App, { options, environment, metrics, prometheus, audit }: RequestParts): void {
  const { limits } = options;
  const admit = admission(options.apiKey);
  const places = new RequestPlaces(limits, environment.clock);
  const connections = new Connections(app.server, limits.connections, environment.clock);
  app.addHook('onRequest', async (request, reply) => {
    if (!connections.begin(request, reply, () => places.end(request))) return reply.hijack();
    reply.header(CORRELATION_HEADER, request.id).headers(FOR_BROWSERS);
    const refusal = admit(request.headers, request.routeOptions.config.isPublic === true);
    if (refusal !== undefined) {
      audit.note(request, { action: 'authenticate' });
      reply.header('www-authenticate', 'Bearer');
      throw refusal;
    }
    places.begin(request, reply);
    // A body is what its route takes, whatever the client calls it: the parsers know no types.
    delete request.headers['content-type'];
  });
  app.addHook('preValidation', async (request, reply) => places.work(request, reply));
  app.addHook('onSend', async (request, reply) => {
    places.reply(request);
    metrics.record(reply.elapsedTime);
    prometheus.answered(request.method, request.routeOptions.url, reply.statusCode, reply.elapsedTime);
    // From now on it is the client's turn; what it leaves lying would stay in memory.
    reply.raw.setTimeout(limits.replyTimeoutMs, () => reply.raw.destroy());
  });
  app.addHook('onResponse', async (request, reply) => audit.answered(request, reply));
  app.server.on('connection', (socket) => {
    metrics.connections++;
    socket.once('close', () => metrics.connections--);
  });
}

function answerErrors({ options, environment, audit }: RequestParts) {
  const log = lineWriter(options.log);
  return (error: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    // Who broke off the upload reads no answer, and nobody has to look into it.
    const described = isBrokenOff(error, request) ? describeAborted : describeError(error);
    audit.note(request, { code: described.code });
    if (described.status >= 500 && described.status !== 503) {
      const { message, stack } =
        error instanceof Error ? error : { message: String(error), stack: undefined };
      const time = isoTime(environment.clock.nowMs());
      log({ time, level: 'error', correlation_id: request.id, code: described.code, message, stack });
    }
    const waitMs = error instanceof StillpointError ? error.data?.retry_after_ms : undefined;
    if (typeof waitMs === 'number') reply.header('retry-after', Math.max(1, Math.ceil(waitMs / 1000)));
    reply.code(described.status).send(errorReply(described, request.id));
  };
}

const isBrokenOff = (error: unknown, { raw }: FastifyRequest): boolean =>
  systemCode(error) === 'ECONNRESET' && !raw.complete;

export function readBodiesAsJson(scope: App, bodyLimit: number): void {
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser('*', { parseAs: 'string', bodyLimit }, (_request, body, done) => {
    if (body === '') return done(null, undefined);
    try {
      done(null, JSON.parse(String(body)));
    } catch (cause) {
      done(new StillpointError('INVALID_REQUEST', 'the body is not JSON', { cause }));
    }
  });
}

function readBodiesAsBytes(scope: App, bodyLimit: number): void {
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit }, (_request, body, done) =>
    done(null, body),
  );
}

const SWEEP_MS = 50;

/** From its closing on: connections end with their last request, and all of them after `shutdownMs`. */
export function endConnectionsWithApp(app: App, clock: Clock, shutdownMs: number): void {
  let stopWaiting = () => {};
  app.addHook('preClose', async () => {
    const begin = clock.monotonicMs();
    stopWaiting = clock.every(SWEEP_MS, () => {
      // A connection whose last request ends now would else be kept open for the next one.
      if (clock.monotonicMs() - begin < shutdownMs) app.server.closeIdleConnections();
      else app.server.closeAllConnections();
    });
  });
  app.addHook('onClose', async () => stopWaiting());
}

/**
 * Closing: runs are cancelled and streams end, no connection is taken any more, requests under way end or are cut off at
 * the limit, a restore past recall goes to its end, and then the database is closed.
 */
export function closeWithApp(
  app: App,
  { options, environment, closing, underWay, plans, gate, hold }: ServerContext,
): void {
  app.addHook('preClose', async () => closing.abort());
  app.addHook('onClose', async () => {
    await underWay.idle();
    await plans?.ended();
    await gate.close();
    await hold.closed();
  });
  endConnectionsWithApp(app, environment.clock, options.limits.shutdownMs);
}
