import { request } from 'node:http';
import { expect, test } from 'vitest';
import { keyBehind, percentDecode, percentEncode } from '../../src/server/kv/keys.ts';
import { injected, listening } from '../support/server.ts';

const encode = (key: string | Buffer) => percentEncode(Buffer.from(key));

test('keys and values are bytes, every one of them', async () => {
  const { rpc } = await injected();
  const key = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  const value = Buffer.from(Array.from({ length: 512 }, (_, i) => 255 - (i & 0xff)));
  expect(await rpc('PUT', `/kv/${encode(key)}`, value)).toMatchObject({ status: 200, json: { lsn: '2' } });
  const got = await rpc('GET', `/kv/${encode(key)}`);
  expect(got.headers['content-type']).toBe('application/octet-stream');
  expect(got.bytes).toEqual(value);
  expect(await rpc('DELETE', `/kv/${encode(key)}`)).toMatchObject({ status: 200, json: { lsn: '4' } });
  expect((await rpc('GET', `/kv/${encode(key)}`)).status).toBe(404);
});

test.each([
  ['a slash', 'users/1/name'],
  ['the name of the batch route', '_batch'],
  ['a question mark', 'a?b=c'],
  ['what looks encoded', '%41'],
  ['a zero byte', 'a\0b'],
  ['text', 'ключ'],
])('a key with %s is a key like any other', async (_, key) => {
  const { rpc } = await injected();
  await rpc('PUT', '/kv/a', 'another');
  expect((await rpc('PUT', `/kv/${encode(key)}`, `value of ${key}`)).status).toBe(200);
  expect((await rpc('GET', `/kv/${encode(key)}`)).bytes.toString()).toBe(`value of ${key}`);
  expect((await rpc('GET', '/kv/a')).bytes.toString()).toBe('another');
  expect((await rpc('DELETE', `/kv/${encode(key)}`)).status).toBe(200);
  expect((await rpc('GET', `/kv/${encode(key)}`)).status).toBe(404);
});

test('slashes need no encoding', async () => {
  const { rpc } = await injected();
  await rpc('PUT', '/kv/a/b/', 'x');
  expect((await rpc('GET', '/kv/a%2Fb%2f')).bytes.toString()).toBe('x');
});

test('an empty value is a value', async () => {
  const { rpc } = await injected();
  await rpc('PUT', '/kv/empty');
  const got = await rpc('GET', '/kv/empty');
  expect(got.status).toBe(200);
  expect(got.bytes).toHaveLength(0);
});

test('the body is the value whatever its content type', async () => {
  const { rpc } = await injected();
  for (const type of ['application/json', 'text/plain', 'no type at all', 'multipart/form-data']) {
    expect((await rpc('PUT', '/kv/k', '{"not json', { 'content-type': type })).status).toBe(200);
    expect((await rpc('GET', '/kv/k')).bytes.toString()).toBe('{"not json');
  }
});

test('a key has 1 to 4096 bytes, in a path and in a batch', async () => {
  const { rpc } = await injected();
  const longest = '\u00ff'.repeat(2048); // two bytes each
  expect((await rpc('PUT', `/kv/${encode(longest)}`, 'x')).status).toBe(200);
  expect((await rpc('GET', `/kv/${encode(longest)}`)).bytes.toString()).toBe('x');
  for (const url of [`/kv/${'k'.repeat(4097)}`, '/kv/']) {
    for (const method of ['PUT', 'GET', 'DELETE'] as const) {
      expect(await rpc(method, url)).toMatchObject({
        status: 400,
        json: { error: { code: 'INVALID_REQUEST' } },
      });
    }
  }
  const batch = {
    ops: [
      { op: 'put', key: 'good', value: '' },
      { op: 'delete', key: '' },
    ],
  };
  expect((await rpc('POST', '/kv/_batch', batch)).status).toBe(400);
  expect((await rpc('GET', '/kv/good')).status).toBe(404);
});

test('a path that is not percent-encoded properly is refused', async () => {
  const { rpc } = await injected();
  for (const key of ['%', '%1', '%zz', 'a%']) {
    const reply = await rpc('PUT', `/kv/${key}`, 'x');
    expect(reply).toMatchObject({ status: 400, json: { error: { code: 'INVALID_REQUEST' } } });
  }
  expect((await rpc('GET', '/kv?prefix=%zz')).json.error.message).toContain('percent-encoded');
});

test('a batch is one commit, in which the last operation on a key counts', async () => {
  const { rpc } = await injected();
  await rpc('PUT', '/kv/old', 'x');
  const ops = [
    { op: 'put', key: 'a', value: '1' },
    { op: 'put', key: 'a', value: '2' },
    { op: 'delete', key: 'old' },
    { op: 'put', key: '_w==', value: 'text' },
    { op: 'put', key: '/w==', value: 'AP8=', encoding: 'base64' },
  ];
  expect(await rpc('POST', '/kv/_batch', { ops })).toMatchObject({ status: 200, json: { lsn: '4' } });
  expect((await rpc('GET', '/kv')).json).toEqual({
    entries: [
      { key: '_w==', value: 'text', encoding: 'utf8' },
      { key: 'a', value: '2', encoding: 'utf8' },
      { key: '/w==', value: 'AP8=', encoding: 'base64' },
    ],
    next: null,
  });
});

test.each([
  ['no body', undefined],
  ['no JSON', '{"ops":'],
  ['no ops', { ops: [] }],
  ['an unknown operation', { ops: [{ op: 'merge', key: 'a' }] }],
  ['a put without a value', { ops: [{ op: 'put', key: 'a' }] }],
  ['a misspelt field', { ops: [{ op: 'put', key: 'a', value: 'b', encodng: 'base64' }] }],
  ['base64 that is none', { ops: [{ op: 'put', key: 'YQ==', value: '*', encoding: 'base64' }] }],
  ['text that no bytes stand for', { ops: [{ op: 'put', key: 'a', value: '\ud800' }] }],
  ['too many operations', { ops: Array.from({ length: 10_001 }, () => ({ op: 'delete', key: 'a' })) }],
])('a batch with %s is refused and writes nothing', async (_, body) => {
  const { rpc } = await injected();
  const reply = await rpc('POST', '/kv/_batch', body);
  expect(reply).toMatchObject({ status: 400, json: { error: { code: 'INVALID_REQUEST' } } });
  expect((await rpc('GET', '/kv')).json.entries).toEqual([]);
});

test('pages follow each other without gap or repetition, both ways, with and without a prefix', async () => {
  const { rpc } = await injected();
  const keys = ['a', 'a\0', 'ab', 'abc', 'b', 'b%', 'b+c', 'b/c', 'ca', 'ÿ'].sort((x, y) =>
    Buffer.compare(Buffer.from(x), Buffer.from(y)),
  );
  await rpc('POST', '/kv/_batch', { ops: keys.map((key) => ({ op: 'put', key, value: `v${key}` })) });

  const all = async (query: string): Promise<string[]> => {
    const found: string[] = [];
    let url: string | null = `/kv?${query}`;
    while (url !== null) {
      const { status, json } = await rpc('GET', url);
      expect(status).toBe(200);
      for (const { key, value } of json.entries) {
        expect(value).toBe(`v${key}`);
        found.push(key);
      }
      url = json.next;
    }
    return found;
  };
  for (const limit of [1, 2, 3, 100]) {
    for (const reverse of [false, true]) {
      const asked = (query: string) => all(`${query}&limit=${limit}&reverse=${reverse}`);
      const expected = (include: (key: string) => boolean) => {
        const some = keys.filter(include);
        return reverse ? some.reverse() : some;
      };
      expect(await asked('')).toEqual(expected(() => true));
      expect(await asked('prefix=b')).toEqual(expected((key) => key.startsWith('b')));
      expect(await asked('prefix=b%2B')).toEqual(['b+c']);
      expect(await asked('start=ab&end=b')).toEqual(expected((key) => key >= 'ab' && key < 'b'));
      expect(await asked('prefix=a&start=ab')).toEqual(expected((key) => key.startsWith('ab')));
      expect(await asked('prefix=a&end=ab')).toEqual(expected((key) => key === 'a' || key === 'a\0'));
      expect(await asked('start=z&end=a')).toEqual([]);
    }
  }
});

test('a page of large values ends before the memory does', async () => {
  const { rpc } = await injected();
  const value = Buffer.alloc(100 * 1024, 7);
  for (let i = 0; i < 50; i++) await rpc('PUT', `/kv/${String(i).padStart(2, '0')}`, value);
  const first = (await rpc('GET', '/kv?limit=1000&encoding=base64')).json;
  expect(first.entries.length).toBeGreaterThan(30);
  expect(first.entries.length).toBeLessThan(50);
  const second = (await rpc('GET', first.next)).json;
  expect(first.entries.length + second.entries.length).toBe(50);
  expect(second.next).toBeNull();
});

test.each([
  'limit=0',
  'limit=1001',
  'limit=many',
  'limit=1.5',
  'reverse=perhaps',
  'encoding=hex',
  'strat=a',
  'prefix=a&prefix=b',
])('a list with %s is refused', async (query) => {
  const { rpc } = await injected();
  expect(await rpc('GET', `/kv?${query}`)).toMatchObject({
    status: 400,
    json: { error: { code: 'INVALID_REQUEST' } },
  });
});

test('a value beyond the limit is 413, with its length told before or not', async () => {
  const { server } = await listening({ limits: { bodyBytes: 1000, adminBodyBytes: 100 } });
  const put = (path: string, method: string, size: number, isChunked: boolean) =>
    new Promise<{ status: number; body: string; correlation: unknown }>((resolve, reject) => {
      const headers: Record<string, string> = isChunked ? {} : { 'content-length': String(size) };
      const outgoing = request(`${server.url}${path}`, { method, headers }, (incoming) => {
        let body = '';
        incoming.setEncoding('utf8').on('data', (text) => {
          body += text;
        });
        incoming.on('end', () =>
          resolve({ status: incoming.statusCode!, body, correlation: incoming.headers['x-correlation-id'] }),
        );
      });
      outgoing.on('error', reject);
      outgoing.end(Buffer.alloc(size, 32));
    });
  for (const isChunked of [false, true]) {
    expect((await put('/kv/a', 'PUT', 1000, isChunked)).status).toBe(200);
    for (const [path, method] of [
      ['/kv/a', 'PUT'],
      ['/kv/_batch', 'POST'],
      ['/api/admin/backup', 'POST'],
    ] as const) {
      const { status, body, correlation } = await put(path, method, 1001, isChunked);
      expect(status, `${method} ${path}`).toBe(413);
      expect(JSON.parse(body)).toEqual({
        error: {
          code: 'PAYLOAD_TOO_LARGE',
          message: 'payload too large: the body is larger than allowed',
          correlation_id: correlation,
          hint: 'Send less in one request.',
        },
      });
    }
  }
});

test('percent encoding is its own inverse, and a prefix ends where the next one begins', () => {
  const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  expect(percentDecode(percentEncode(every))).toEqual(every);
  expect(percentDecode('100%')).toBeUndefined();
  expect(keyBehind(Buffer.from([1, 2]))).toEqual(Buffer.from([1, 3]));
  expect(keyBehind(Buffer.from([1, 255, 255]))).toEqual(Buffer.from([2]));
  expect(keyBehind(Buffer.from([255]))).toBeUndefined();
});
