import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { AdminClient } from '../../src/rpc/client.ts';
import { isLoopbackName } from '../../src/rpc/loopback.ts';
import { type ServerOptions, startServer } from '../../src/server/index.ts';
import { injected, listening, UUID } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';

const KEY = 'a key of the test';

test('an option that there is not is refused: a misspelt key would leave the server open', async () => {
  const dataDir = await temporaryFolder();
  for (const [wrong, name] of [
    [{ apikey: KEY }, 'startServer: there is no option "apikey"'],
    [{ tls: { keyFile: 'a', certFile: 'b', ca: 'c' } }, 'startServer: tls: there is no option "ca"'],
  ] as const) {
    await expect(startServer({ dataDir, ...wrong } as ServerOptions)).rejects.toThrow(name);
  }
});

test('every route asks for the key, an unknown one too, and says so in the envelope', async () => {
  const { rpc, audit } = await injected({ apiKey: KEY });
  const requests = [
    ['GET', '/kv/a'],
    ['PUT', '/kv/a'],
    ['GET', '/kv'],
    ['POST', '/kv/_batch'],
    ['GET', '/api/admin/health'],
    ['GET', '/api/admin/openapi.json'],
    ['POST', '/api/admin/backup'],
    ['GET', '/no/such/route'],
  ] as const;
  for (const [method, url] of requests) {
    const { status, json, headers } = await rpc(method, url);
    expect(status, url).toBe(401);
    expect(json).toEqual({
      error: {
        code: 'UNAUTHORIZED',
        message: 'unauthorized: an API key is required',
        correlation_id: headers['x-correlation-id'],
        hint: 'Send the key as `x-api-key` or `Authorization: Bearer`.',
      },
    });
    expect(json.error.correlation_id).toMatch(UUID);
  }
  expect(audit).toHaveLength(requests.length);
  expect(audit[0]).toMatchObject({ action: 'authenticate', outcome: 'refused', code: 'UNAUTHORIZED' });
});

test.each([
  ['x-api-key', { 'x-api-key': KEY }, 200],
  ['Bearer', { authorization: `Bearer ${KEY}` }, 200],
  ['bearer', { authorization: `bearer ${KEY}` }, 200],
  ['one of two', { 'x-api-key': 'no', authorization: `Bearer ${KEY}` }, 200],
  ['a wrong key', { 'x-api-key': 'no' }, 401],
  ['a longer key', { 'x-api-key': `${KEY}.` }, 401],
  ['a part of the key', { 'x-api-key': KEY.slice(0, -1) }, 401],
  ['an empty key', { 'x-api-key': '' }, 401],
  ['Basic', { authorization: `Basic ${KEY}` }, 401],
])('%s', async (_, headers, expected) => {
  const { rpc } = await injected({ apiKey: KEY });
  expect((await rpc('GET', '/api/admin/health', undefined, headers as never)).status).toBe(expected);
});

test('a key in any script is admitted, in the bytes that clients send', async () => {
  const key = 'schlüssel-密钥';
  const { server } = await listening({ apiKey: key });
  const inUtf8 = Buffer.from(key).toString('latin1');
  const status = async (value: string) =>
    (await fetch(`${server.url}/api/admin/status`, { headers: { 'x-api-key': value } })).status;
  expect([await status(inUtf8), await status(`${inUtf8}.`)]).toEqual([200, 401]);
  expect((await new AdminClient({ url: server.url, key }).status()).overall_status).toBe('ok');
  const latin = await listening({ apiKey: 'schlüssel' });
  const reply = await fetch(`${latin.server.url}/api/admin/status`, {
    headers: { 'x-api-key': 'schlüssel' },
  });
  expect([reply.status, reply.headers.get('x-content-type-options')]).toEqual([200, 'nosniff']);
});

test('no key and no credentials are ever written to audit or log', async () => {
  const { rpc, audit, log } = await injected({ apiKey: KEY });
  await rpc('POST', '/api/admin/backup', undefined, { 'x-api-key': 'a wrong one' });
  await rpc('PUT', '/kv/secret-name', 'secret value', { authorization: 'Bearer a wrong one' });
  await rpc('POST', '/api/admin/lifecycle', { action: 'x' }, { 'x-api-key': KEY });
  expect(audit.length).toBe(3);
  expect(JSON.stringify([audit, log])).not.toMatch(/a wrong one|a key of the test|secret/);
});

test.each(['0.0.0.0', '::', '192.0.2.1', 'example.org'])(
  'without a key nothing listens on %s',
  async (host) => {
    const dataDir = `${await temporaryFolder()}/data`;
    await expect(startServer({ dataDir, host })).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining(host),
    });
  },
);

test('with a key the server listens on every address', async () => {
  const { server } = await listening({ apiKey: KEY, host: '0.0.0.0', plainHttp: true });
  const url = `http://127.0.0.1:${server.port}/api/admin/health`;
  expect((await fetch(url)).status).toBe(401);
  const reply = await fetch(url, { headers: { 'x-api-key': KEY } });
  expect(await reply.text()).toBe('{"status":"ok","message":"ready"}');
});

test('without a key a web page can neither send requests nor pass off its own name as this machine', async () => {
  const { rpc } = await injected();
  const status = async (headers: Record<string, string>) =>
    (await rpc('POST', '/api/admin/compaction', undefined, headers)).status;
  expect(await status({ host: '127.0.0.1:4780' })).toBe(200);
  expect(await status({ host: '[::1]:4780' })).toBe(200);
  expect(await status({ host: 'localhost:4780', origin: 'http://localhost:4780' })).toBe(200);
  expect(await status({ host: 'localhost:4780', origin: 'http://localhost:3000' })).toBe(401);
  expect(await status({ host: 'localhost:4780', origin: 'http://127.0.0.1:4780' })).toBe(401);
  expect(await status({ host: 'rebound.example:4780' })).toBe(401);
  expect(await status({ host: 'localhost', origin: 'https://example.org' })).toBe(401);
  expect(await status({ host: 'localhost', origin: 'null' })).toBe(401);
  for (const [site, expected] of [
    ['same-origin', 200],
    ['none', 200], // typed into the address bar
    ['same-site', 401],
    ['cross-site', 401],
  ] as const)
    expect(await status({ host: 'localhost', 'sec-fetch-site': site }), site).toBe(expected);
  const linked = await rpc('GET', '/', undefined, { host: 'localhost', 'sec-fetch-site': 'cross-site' });
  expect([linked.status, linked.headers['cross-origin-resource-policy']]).toEqual([200, 'same-origin']);
});

test('only names of this machine are loopback', () => {
  for (const name of ['127.0.0.1', '127.8.9.1', '::1', '[::1]', 'localhost', 'LOCALHOST', 'a.localhost'])
    expect(isLoopbackName(name), name).toBe(true);
  for (const name of [
    '',
    '0.0.0.0',
    '::',
    '128.0.0.1',
    '127.example.org',
    '127.1',
    'localhost.org',
    '10.0.0.1',
  ])
    expect(isLoopbackName(name), name).toBe(false);
});

test.each<[string, Partial<ServerOptions>, RegExp]>([
  ['dataDir', { dataDir: '' }, /dataDir/],
  ['an empty key', { apiKey: '' }, /apiKey/],
  ['port', { port: 70_000 }, /port/],
  ['host', { host: '' }, /host/],
  ['a limit', { limits: { bodyBytes: 0 } }, /limits\.bodyBytes/],
  [
    'an unknown limit',
    { limits: { bodyMegabytes: 1 } as never },
    /limits: there is no option "bodyMegabytes"/,
  ],
  ['TLS and none', { tls: { keyFile: 'k', certFile: 'c' }, plainHttp: true }, /tls and plainHttp/],
  ['sources', { allowedSources: [''] }, /allowedSources/],
])('a wrong option is a TypeError that names it: %s', async (_, options, message) => {
  const call = startServer({ dataDir: `${await temporaryFolder()}/data`, ...options });
  await expect(call).rejects.toThrow(TypeError);
  await expect(call).rejects.toThrow(message);
});

test('correlation ids are echoed, or made, on every reply', async () => {
  const { rpc } = await injected();
  const id = async (url: string, headers: Record<string, string>) =>
    (await rpc('GET', url, undefined, headers)).headers['x-correlation-id'];
  for (const url of ['/api/admin/health', '/none', '/kv/none', '/api/admin/backup/%zz']) {
    expect(await id(url, { 'x-correlation-id': 'mine', 'x-request-id': 'other' })).toBe('mine');
    expect(await id(url, { 'x-request-id': 'other' })).toBe('other');
    expect(await id(url, {})).toMatch(UUID);
    expect(await id(url, { 'x-correlation-id': 'x'.repeat(257) })).toMatch(UUID);
  }
});

test.each([
  ['malformed HTTP', 'hello\r\n\r\n', 400],
  ['headers without end', `GET / HTTP/1.1\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`, 431],
])('%s is answered with the envelope', async (_, bytes, status) => {
  const { server } = await listening();
  const socket = connect(server.port, '127.0.0.1');
  socket.write(bytes);
  const [head = '', body = ''] = (await text(socket)).split('\r\n\r\n');
  expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  const { error } = JSON.parse(body);
  expect(error).toMatchObject({ code: 'INVALID_REQUEST' });
  expect(head).toContain(`x-correlation-id: ${error.correlation_id}`);
});
