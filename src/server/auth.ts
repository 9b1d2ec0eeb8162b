import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { StillpointError } from '../errors.ts';
import { isLoopbackName } from '../rpc/loopback.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Asks for no key: the answer is the same for everybody. */
    readonly isPublic?: true;
  }
}

/** Returns why a request is not admitted, undefined when it is. */
export type Admit = (headers: IncomingHttpHeaders, isPublic: boolean) => StillpointError | undefined;

/**
 * With a key: `x-api-key`, or `Authorization: Bearer`, must show it. Hashes are compared, in constant time, so that neither
 * length nor content of the key can be measured.
 *
 * What is public holds nothing of the database: the page that asks for the key.
 *
 * Without one the server listens on loopback only, which keeps other machines out but not the browser on this one: any web page
 * may send requests to 127.0.0.1. So a request must name this machine as its host (a page that had its own name resolved to
 * 127.0.0.1 names itself), and must not come from another page than the server's own: what listens on another port is a stranger too.
 */
export function admission(apiKey: string | undefined): Admit {
  if (apiKey === undefined) return admitLocal;
  const expected = digest(apiKey);
  return (headers, isPublic) => {
    if (isPublic) return undefined;
    const bearer = /^Bearer +(.+)$/i.exec(headers.authorization ?? '')?.[1];
    const candidates = [headers['x-api-key'], bearer].filter((value) => typeof value === 'string');
    if (candidates.length === 0) return refused('an API key is required');
    const matches = candidates
      .flatMap(readings)
      .map((candidate) => timingSafeEqual(digest(candidate), expected));
    return matches.includes(true) ? undefined : refused('the API key is wrong');
  };
}

/** Node reads the bytes of a header as Latin-1; most clients send UTF-8. */
const readings = (value: string): string[] => [value, Buffer.from(value, 'latin1').toString('utf8')];

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

const refused = (message: string): StillpointError => new StillpointError('UNAUTHORIZED', message);

const admitLocal: Admit = ({ host, origin, 'sec-fetch-site': site }, isPublic) => {
  if (host !== undefined && !isLoopbackUrl(`http://${host}`)) {
    return refused('without an API key only requests to localhost are answered');
  }
  if (origin !== undefined && !(URL.canParse(origin) && new URL(origin).host === host?.toLowerCase())) {
    return refused('without an API key requests from other web pages are refused');
  }
  // A script or an image is asked for without an origin. The console itself may be linked to.
  if (!isPublic && (site === 'cross-site' || site === 'same-site')) {
    return refused('without an API key requests from other web pages are refused');
  }
  return undefined;
};

function isLoopbackUrl(text: string): boolean {
  return URL.canParse(text) && isLoopbackName(new URL(text).hostname);
}
