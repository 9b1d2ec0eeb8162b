import type { FastifyReply, FastifyRequest } from 'fastify';
import { StillpointError } from '../errors.ts';

/**
 * Counts the requests under way and refuses those beyond the limits with `UNAVAILABLE`, before their bodies are read: so memory
 * and work have a bound whatever comes in. Call it when a request is admitted.
 */
export function requestLimits(limits: {
  readonly requests: number;
  readonly adminRequests: number;
}): (request: FastifyRequest, reply: FastifyReply) => void {
  const all = { underWay: 0, limit: limits.requests };
  const admin = { underWay: 0, limit: limits.adminRequests };
  return (request, reply) => {
    const isAdmin = request.routeOptions.url?.startsWith('/api/admin/') === true;
    const counters = isAdmin ? [all, admin] : [all];
    if (counters.some(({ underWay, limit }) => underWay >= limit)) {
      reply.header('retry-after', '1');
      throw new StillpointError('UNAVAILABLE', 'too many requests are under way');
    }
    for (const counter of counters) counter.underWay++;
    reply.raw.once('close', () => {
      for (const counter of counters) counter.underWay--;
    });
  };
}
