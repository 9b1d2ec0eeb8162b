import { isUtf8 } from 'node:buffer';
import { StillpointError } from '../../errors.ts';

/** A key is 1 to 4,096 bytes: percent-encoded whole, it still fits into the headers of a request. */
export const MAX_KEY_BYTES = 4096;

const PREFIX = '/kv/';
const MALFORMED = `${PREFIX}malformed`;

/**
 * The router decodes paths as UTF-8, and keys are bytes; so the part after `/kv/` reaches it as `k` and hexadecimal digits. All
 * of the path is the key, slashes too. Only `POST /kv/_batch` is a route of its own: a key of that name is read and written as
 * any other.
 */
export function routeUrl(method: string | undefined, url: string): string {
  if (!url.startsWith(PREFIX)) return url;
  const queryAt = url.indexOf('?');
  const path = queryAt < 0 ? url : url.slice(0, queryAt);
  if (method === 'POST' && path === `${PREFIX}_batch`) return url;
  const bytes = percentDecode(path.slice(PREFIX.length));
  const query = queryAt < 0 ? '' : url.slice(queryAt);
  return (bytes === undefined ? MALFORMED : `${PREFIX}k${bytes.toString('hex')}`) + query;
}

/** What the router has of a key; `INVALID_REQUEST` when it is none. */
export function keyOfParam(param: string): Buffer {
  if (!/^k[0-9a-f]*$/.test(param)) {
    throw new StillpointError('INVALID_REQUEST', 'the key is not percent-encoded properly');
  }
  return requireKey(Buffer.from(param.slice(1), 'hex'));
}

export function requireKey(key: Buffer): Buffer {
  if (key.length > 0 && key.length <= MAX_KEY_BYTES) return key;
  throw new StillpointError('INVALID_REQUEST', `a key has 1 to ${MAX_KEY_BYTES} bytes, not ${key.length}`);
}

/**
 * The bytes of a percent-encoded text; undefined when a `%` is not followed by two hexadecimal digits. A character that is
 * not encoded stands for the byte that the client sent.
 */
export function percentDecode(text: string): Buffer | undefined {
  if (/%(?![0-9a-f]{2})/i.test(text)) return undefined;
  const binary = text.replace(/%(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(binary, 'latin1');
}

export function percentEncode(bytes: Buffer): string {
  let text = '';
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    text += /[A-Za-z0-9._~-]/.test(character)
      ? character
      : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return text;
}

/** The first key behind all that begin with `prefix`; undefined when there is none. */
export function keyBehind(prefix: Buffer): Buffer | undefined {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return undefined;
  const behind = Buffer.from(prefix.subarray(0, length));
  behind[length - 1]! += 1;
  return behind;
}

export const ENCODINGS = ['utf8', 'base64'] as const;
export type Encoding = (typeof ENCODINGS)[number];

/** The bytes that a text in JSON stands for; `INVALID_REQUEST` when it stands for none. */
export function decodeText(name: string, text: string, encoding: Encoding): Buffer {
  const bytes = Buffer.from(text, encoding);
  // Node leaves out what it does not understand; what is understood comes out as it went in.
  if (bytes.toString(encoding) === text) return bytes;
  throw new StillpointError(
    'INVALID_REQUEST',
    `${name} is not ${encoding === 'utf8' ? 'Unicode' : 'base64'}`,
  );
}

/** Base64 when asked for, and when either is no UTF-8. */
export function encodingFor(asked: Encoding, key: Buffer, value: Buffer): Encoding {
  return asked === 'utf8' && isUtf8(key) && isUtf8(value) ? 'utf8' : 'base64';
}
