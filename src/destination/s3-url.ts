import { StillpointError } from '../errors.ts';

export interface S3Location {
  /** As it is shown: it holds no secret. */
  readonly url: string;
  readonly bucket: string;
  /** Empty, or ends with `/`. */
  readonly prefix: string;
  readonly endpoint?: string;
  readonly region?: string;
  readonly profile?: string;
  readonly pathStyle: boolean;
  /** False: checksums are sent and expected only where the operation requires them, for servers that know no others. */
  readonly checksums: boolean;
}

const KNOWN: readonly string[] = ['endpoint', 'region', 'profile', 'path_style', 'checksums'];

/** Reads `s3://bucket/prefix?endpoint=…&region=…&profile=…&path_style=true&checksums=false`; `DESTINATION_CONFIG_INVALID`. */
export function parseS3Url(url: string): S3Location {
  const refuse = (why: string) =>
    new StillpointError('DESTINATION_CONFIG_INVALID', `${withoutKeys(url)}: ${why}`, {
      hint: 'Write s3://BUCKET/PREFIX, with ?endpoint=URL&region=NAME&path_style=true for a server of your own.',
    });
  if (/^[^?]*@/.test(url)) throw refuse('keys do not belong into a URL');
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw refuse('is no URL');
  }
  const { hostname: bucket, pathname, searchParams } = parsed;
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) throw refuse(`"${bucket}" is no name of a bucket`);
  for (const name of searchParams.keys()) {
    if (!KNOWN.includes(name)) throw refuse(`there is no setting "${name}"; there are ${KNOWN.join(', ')}`);
    if (searchParams.getAll(name).length > 1) throw refuse(`"${name}" stands there twice`);
  }
  const flag = (name: string, fallback: boolean): boolean => {
    const text = searchParams.get(name);
    if (text !== null && text !== 'true' && text !== 'false') throw refuse(`${name} must be true or false`);
    return text === null ? fallback : text === 'true';
  };
  const endpoint = searchParams.get('endpoint') ?? undefined;
  if (endpoint !== undefined && !/^https?:\/\/[^@/?#]+\/?$/.test(endpoint))
    throw refuse('endpoint must be http://HOST:PORT or https://HOST');
  const path = pathname.replace(/^\/|\/$/g, '');
  if (path !== '' && !/^[\w.-]+(\/[\w.-]+)*$/.test(path)) throw refuse(`"${path}" is no prefix`);
  const region = searchParams.get('region') ?? undefined;
  const profile = searchParams.get('profile') ?? undefined;
  return {
    url,
    bucket,
    prefix: path === '' ? '' : `${path}/`,
    ...(endpoint !== undefined && { endpoint }),
    ...(region !== undefined && { region }),
    ...(profile !== undefined && { profile }),
    pathStyle: flag('path_style', endpoint !== undefined),
    checksums: flag('checksums', endpoint === undefined),
  };
}

/** Whoever put keys into it, wherever, must not find them in a log. Secret keys may hold slashes. */
export const withoutKeys = (url: string): string =>
  url
    .replace(/\/\/.*@/s, '//…@')
    .replace(/([?&])([^=&]*)=([^&]*)/g, (all, before: string, name: string, value: string) =>
      KNOWN.includes(name) && !/@|%40/.test(value) ? all : `${before}${name}=…`,
    );
