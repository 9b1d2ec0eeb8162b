import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type * as z from 'zod';
import { errorSchema } from '../rpc/replies.ts';

/** The Fastify instance as routes see it: zod schemas give the types of requests and replies. */
export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** A reply that is not JSON. */
export const content = <T extends z.ZodType>(type: string, schema: T, description: string) => ({
  description,
  content: { [type]: { schema } },
});

/** The replies of a route: what it answers when all is well, and the envelope for everything else. */
export const replies = <T>(ok: T) => ({ 200: ok, '4xx': errorSchema, '5xx': errorSchema });
