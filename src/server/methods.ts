import type { FastifyReply, FastifyRequest } from 'fastify';
import { describeWrongMethod, errorReply } from './envelope.ts';
import type { App } from './route-types.ts';

/**
 * Watches the routes that are registered after it. What it returns answers a request for which there is no route: 405 with
 * `allow` where the path has one for other methods; false where nothing is known of the path either.
 */
export function watchMethods(app: App): (request: FastifyRequest, reply: FastifyReply) => boolean {
  const methods = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method }) => {
    const known = methods.get(url) ?? new Set();
    for (const one of [method].flat()) known.add(one);
    methods.set(url, known);
  });
  return (request, reply) => {
    const path = request.url.split('?', 1)[0]!.split('/');
    const allowed = new Set<string>();
    for (const [url, known] of methods) {
      if (isOf(url.split('/'), path)) for (const method of known) allowed.add(method);
    }
    if (allowed.size === 0) return false;
    const methodsAllowed = [...allowed].sort().join(', ');
    const described = describeWrongMethod(request.method, methodsAllowed);
    reply.header('allow', methodsAllowed).code(described.status).send(errorReply(described, request.id));
    return true;
  };
}

/** Part by part; `:name` stands for any that is not empty. */
const isOf = (route: readonly string[], path: readonly string[]): boolean =>
  route.length === path.length &&
  route.every((part, i) => (part.startsWith(':') ? path[i] !== '' : part === path[i]));
