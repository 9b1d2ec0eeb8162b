import type { Database, KeyRange } from '../database.ts';
import { encodingFor, keyBehind, percentEncode } from './keys.ts';
import type { ListQuery } from './schemas.ts';

/** A page ends when its keys and values reach this size: what one request takes of the memory stays bounded. */
const PAGE_BYTES = 4 * 1024 * 1024;

export interface ListPage {
  readonly entries: { key: string; value: string; encoding: 'utf8' | 'base64' }[];
  readonly next: string | null;
}

/** One page of a range. `next` is the URL of the following one. */
export async function listPage(database: Database, query: ListQuery): Promise<ListPage> {
  const { limit, reverse } = query;
  const range = rangeOf(query);
  const entries: ListPage['entries'] = [];
  if (range === undefined) return { entries, next: null };
  let bytes = 0;
  let last: Buffer | undefined;
  for await (const [key, value] of database.iterate(range)) {
    if (entries.length === limit || bytes >= PAGE_BYTES) {
      return { entries, next: urlOf(reverse ? { ...query, end: last } : { ...query, start: key }) };
    }
    const encoding = encodingFor(query.encoding, key, value);
    entries.push({ key: key.toString(encoding), value: value.toString(encoding), encoding });
    bytes += key.length + value.length;
    last = key;
  }
  return { entries, next: null };
}

/** Undefined when no key can be in it. One pair more than asked for tells whether there is another page. */
function rangeOf({ prefix, start, end, reverse, limit }: ListQuery): KeyRange | undefined {
  const behind = prefix && keyBehind(prefix);
  const gte = prefix === undefined || (start !== undefined && start.compare(prefix) > 0) ? start : prefix;
  const lt = behind === undefined || (end !== undefined && end.compare(behind) < 0) ? end : behind;
  if (gte !== undefined && lt !== undefined && gte.compare(lt) >= 0) return undefined;
  return { reverse, limit: limit + 1, ...(gte && { gte }), ...(lt && { lt }) };
}

function urlOf(query: { readonly [K in keyof ListQuery]: ListQuery[K] | undefined }): string {
  const parts: string[] = [];
  for (const name of ['prefix', 'start', 'end'] as const) {
    const bytes = query[name];
    if (bytes !== undefined) parts.push(`${name}=${percentEncode(bytes)}`);
  }
  parts.push(`limit=${query.limit}`);
  if (query.reverse) parts.push('reverse=true');
  if (query.encoding !== 'utf8') parts.push(`encoding=${query.encoding}`);
  return `/kv?${parts.join('&')}`;
}
