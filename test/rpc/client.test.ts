import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { ERROR_CODES } from '../../src/errors.ts';
import { AdminClient, type AdminClientOptions } from '../../src/rpc/client.ts';
import { listening, untilFinished } from '../support/server.ts';

const KEY = 'a key of the test';

/** A client of a real server. */
async function overServer(options: Partial<AdminClientOptions> = { key: KEY }) {
  const { server, dataDir, audit } = await listening({ apiKey: KEY });
  const client = new AdminClient({ url: server.url, ...options });
  onTestFinished(() => client.close());
  const put = (key: string, value = 'value') =>
    fetch(`${server.url}/kv/${key}`, { method: 'PUT', body: value, headers: { 'x-api-key': KEY } });
  return { client, put, server, dataDir, audit };
}

/** A client of something that only pretends to be a server. */
async function overListener(listener: RequestListener, options: Partial<AdminClientOptions> = {}) {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const client = new AdminClient({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ...options,
  });
  onTestFinished(() => {
    client.close();
    server.closeAllConnections();
    server.close();
  });
  return client;
}

test('all that a controller asks of a node works over a real server', async () => {
  const { client, put } = await overServer();
  await put('a', 'x'.repeat(100_000));
  const identity = await client.identity();
  expect(identity).toMatchObject({ engine: 'lsm' });
  expect(await client.quiesce({ run: 'r', ttl_ms: 60_000, dry: true })).toEqual({
    epoch: null,
    expires_at_ms: null,
  });
  const { epoch } = await client.quiesce({ run: 'r', ttl_ms: 60_000 });
  const { handle } = await client.startBackup({ key: 'k', epoch: epoch! });
  const done = await untilFinished(() => client.backup(handle));
  expect(done.state.status).toBe('completed');
  await client.resume({ run: 'r', epoch: epoch! });
  const name = done.location.split('/').at(-1)!;
  await client.pin(name, { run: 'r', ttl_ms: 600_000 });
  const manifest = JSON.parse((await client.manifest(name)).toString());
  for (const { path, size } of manifest.entries) {
    const whole = await client.file(name, path, { from: 0, etag: undefined });
    const bytes = await buffer(whole.stream);
    expect(bytes.byteLength).toBe(size);
    const rest = await client.file(name, path, { from: 1, etag: whole.etag });
    expect(rest.from).toBe(1);
    expect((await buffer(rest.stream)).equals(bytes.subarray(1))).toBe(true);
    const changed = await client.file(name, path, { from: 1, etag: '"other"' });
    expect(changed.from).toBe(0);
    expect((await buffer(changed.stream)).equals(bytes)).toBe(true);
  }
  await client.startBackup({ key: 'k2' }).then(({ handle }) => untilFinished(() => client.backup(handle)));
  await client.pin(name, { run: 'r', ttl_ms: 0, discard: true });
  await client.startBackup({ key: 'k3' }).then(({ handle }) => untilFinished(() => client.backup(handle)));
  await expect(client.manifest(name)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(client.file(name, 'x', { from: 0, etag: undefined })).rejects.toMatchObject({
    code: 'NOT_FOUND',
    data: { status: 404 },
  });
});

test('a refusal in the place of a file that does not end, or is too long, is not waited for', async () => {
  const refusing = (more: (response: ServerResponse) => void, options = {}) =>
    overListener((_request, response) => {
      response.writeHead(404, { 'content-type': 'application/json' });
      more(response);
    }, options);
  const file = (client: AdminClient) => client.file('ts-1', 'x', { from: 0, etag: undefined });
  const drip = (response: ServerResponse) => {
    const timer = setInterval(() => response.write(' '), 5);
    response.on('close', () => clearInterval(timer));
  };
  const endless = await refusing(drip, { timeoutMs: 400 });
  await expect(file(endless)).rejects.toMatchObject({ code: 'NODE_UNREACHABLE' });
  const long = await refusing((response) => response.end(Buffer.alloc(2 * 1024 * 1024)));
  await expect(file(long)).rejects.toMatchObject({ code: 'NODE_REPLY_INVALID' });
});

test('the server’s own code comes through, with its hint when to come again', async () => {
  const { client, put } = await overServer();
  await put('a');
  const lost = client.resume({ run: 'r', epoch: '0'.repeat(32) });
  await expect(lost).rejects.toMatchObject({
    code: 'LEASE_LOST',
    data: { status: 409 },
    hint: ERROR_CODES.LEASE_LOST.hint,
  });
  const unknown = client.pin('latest-good', { run: 'r', ttl_ms: 1000 });
  await expect(unknown).rejects.toMatchObject({
    code: 'NOT_FOUND',
    hint: expect.stringContaining('Take one first: `stillpoint snapshot /'), // of this error, not of its code
  });
  const wrong = await overServer({ key: 'another key' });
  await expect(wrong.client.identity()).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  const busy = await overListener((_request, response) => {
    response.writeHead(503, { 'retry-after': '7', 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: { code: 'UNAVAILABLE', message: 'later', correlation_id: 'c' } }));
  });
  await expect(busy.identity()).rejects.toMatchObject({ code: 'UNAVAILABLE', data: { retryAfterMs: 7000 } });
});

test.each([
  ['http://db.example:4780', 'over plain HTTP'],
  ['http://192.168.1.1', 'over plain HTTP'],
  ['https://user:secret@db.example', 'has a user or a password'],
  ['https://db.example/?x=1', 'has a query'],
  ['ftp://db.example', 'neither http nor https'],
  ['db.example', 'is no URL'],
])('a key is not sent to %s', (url, message) => {
  const refused = { code: 'INVALID_REQUEST', message: expect.stringContaining(message) };
  expect(() => new AdminClient({ url, key: KEY })).toThrow(expect.objectContaining(refused));
  try {
    new AdminClient({ url, key: KEY });
  } catch (error) {
    expect(String(error)).not.toContain(KEY);
    expect(String(error)).not.toContain('secret');
  }
});

test('a key may go over HTTPS anywhere, and over HTTP on this machine', () => {
  for (const url of ['https://db.example', 'http://127.0.0.1:1', 'http://localhost', 'http://[::1]:1'])
    new AdminClient({ url, key: KEY }).close();
  new AdminClient({ url: 'http://db.example' }).close();
});

const json =
  (body: unknown): RequestListener =>
  (_request, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(body));
  };

test.each([
  ['another document', json({ store_id: 7 })],
  ['no JSON', (_request, response) => void response.end('<html>')],
  ['nothing', (_request, response) => void response.end()],
  [
    'an endless reply',
    (_request, response) => {
      const chunk = Buffer.alloc(64 * 1024, '[');
      const more = (): void => {
        if (!response.destroyed && response.write(chunk)) setImmediate(more);
        else response.once('drain', more);
      };
      more();
    },
  ],
] as [string, RequestListener][])('%s is not taken for a reply', async (_, listener) => {
  const client = await overListener(listener);
  await expect(client.identity()).rejects.toMatchObject({ code: 'NODE_REPLY_INVALID' });
});

test('a redirect is not followed, and the key goes nowhere else', async () => {
  const asked: string[] = [];
  const other = createServer((request, response) => {
    asked.push(request.url ?? '');
    response.end('{}');
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => other.once('listening', resolve));
  onTestFinished(() => void other.close());
  const location = `http://127.0.0.1:${(other.address() as AddressInfo).port}/`;
  const client = await overListener((_request, response) => response.writeHead(307, { location }).end(), {
    key: KEY,
  });
  for (const call of [() => client.identity(), () => client.file('ts-1', 'a', { from: 0, etag: undefined })])
    await expect(call()).rejects.toMatchObject({
      code: 'NODE_REPLY_INVALID',
      message: expect.stringContaining('redirect'),
    });
  expect(asked).toEqual([]);
});

test.each([
  ['never answers', () => {}],
  [
    'stops in the middle',
    (_request, response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('{"store_id":');
    },
  ],
  [
    'sends a byte now and then',
    (_request, response) => {
      const timer = setInterval(() => response.write(' '), 20);
      response.once('close', () => clearInterval(timer));
    },
  ],
  ['hangs up', (_request, response) => void response.destroy()],
  ['is broken', (_request, response) => void response.writeHead(500).end('oops')],
] as [string, RequestListener][])(
  'a node that %s is unreachable, within the time limit',
  async (_, listener) => {
    const client = await overListener(listener, { timeoutMs: 200 });
    await expect(client.identity()).rejects.toMatchObject({ code: 'NODE_UNREACHABLE' });
  },
);

test('a port that nobody listens on is unreachable, and the message names the URL without secrets', async () => {
  const client = new AdminClient({ url: 'http://127.0.0.1:9', key: KEY });
  const error = await client.identity().catch((reason) => reason);
  expect(error).toMatchObject({
    code: 'NODE_UNREACHABLE',
    message: expect.stringContaining('http://127.0.0.1:9'),
  });
  expect(JSON.stringify(error) + error.stack).not.toContain(KEY);
});

test('a range that was not asked for is refused', async () => {
  const client = await overListener((_request, response) => {
    response.writeHead(206, { 'content-range': 'bytes 0-3/10', etag: '"e"' });
    response.end('1234');
  });
  for (const from of [0, 5])
    await expect(client.file('ts-1', 'a', { from, etag: '"e"' })).rejects.toMatchObject({
      code: 'NODE_REPLY_INVALID',
    });
});
