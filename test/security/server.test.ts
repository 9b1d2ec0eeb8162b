import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { get as getPlain } from 'node:http';
import { get } from 'node:https';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type ServerLimits, startServer } from '../../src/server/index.ts';
import { readTree, writeTree } from '../support/folders.ts';
import { describeWith, hasProgram } from '../support/needs.ts';
import { altered, barrier, injected, listening, smallLsm, untilFinished } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';

// What strangers on the network, and clients without manners, can do to the server.

const served = async (limits: Partial<ServerLimits>) => {
  const { server } = await listening({ limits });
  /** A connection that sends `bytes`, then a byte now and then until it is closed. */
  const slowly = (bytes: string): Socket => {
    let drip: NodeJS.Timeout | undefined;
    const socket = connect(server.port, '127.0.0.1', () => {
      socket.write(bytes);
      drip = setInterval(() => socket.writable && socket.write('x'), 20);
    });
    socket.on('error', () => undefined).once('close', () => clearInterval(drip));
    onTestFinished(() => void socket.destroy());
    return socket;
  };
  const plain = (bytes: string): Socket => {
    const socket = connect(server.port, '127.0.0.1', () => socket.write(bytes));
    socket.on('error', () => undefined);
    onTestFinished(() => void socket.destroy());
    return socket;
  };
  return { server, slowly, plain };
};

const closed = (socket: Socket): Promise<unknown> =>
  socket.closed ? Promise.resolve() : new Promise((done) => socket.once('close', done));

describe('limits', () => {
  test('headers that never end are cut off in time', async () => {
    const { slowly } = await served({ headerTimeoutMs: 200 });
    expect(await text(slowly('GET /kv/a HTTP/1.1\r\nhost: localhost\r\nx: '))).toMatch(
      /^HTTP\/1.1 408 .*INVALID_REQUEST/s,
    );
  });

  test('a connection that says nothing is closed', async () => {
    const { plain } = await served({ headerTimeoutMs: 200 });
    const socket = plain('');
    socket.resume();
    await closed(socket);
  });

  test('a body that never ends is cut off in time', async () => {
    const { slowly } = await served({ requestTimeoutMs: 300 });
    const head = 'PUT /kv/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n';
    expect(await text(slowly(head))).toMatch(/^HTTP\/1.1 408 /);
  });

  test.each([
    ['announced', 'content-length: 99999999', ''],
    ['not announced', 'transfer-encoding: chunked', `10000\r\n${'x'.repeat(0x10000)}\r\n`],
  ])('a body beyond the limit that is %s is refused', async (_, header, body) => {
    const { plain } = await served({ bodyBytes: 1024, adminBodyBytes: 1024 });
    for (const route of ['PUT /kv/a', 'POST /kv/_batch', 'POST /api/admin/restore']) {
      const socket = plain(`${route} HTTP/1.1\r\nhost: localhost\r\n${header}\r\n\r\n${body}`);
      const [reply] = (await socket.iterator({ destroyOnReturn: true }).next()).value
        .toString()
        .split('\r\n');
      expect(reply, route).toBe('HTTP/1.1 413 Payload Too Large');
    }
  });

  test('of connections beyond the limit the longest idle are cut off, and the newest answered', async () => {
    const { plain } = await served({ connections: 3 });
    let dropped = 0;
    const sockets: Socket[] = [];
    await new Promise<void>((done) => {
      for (let i = 0; i < 8; i++)
        sockets.push(
          plain('')
            .resume()
            .once('close', () => ++dropped === 5 && done()),
        );
    });
    const kept = sockets.filter((socket) => !socket.closed);
    expect(kept).toHaveLength(3);
    for (const socket of kept) {
      const reply = text(socket);
      socket.write('GET /kv/none HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n');
      expect(await reply).toMatch(/^HTTP\/1.1 404 /);
    }
  });

  test('work beyond the limit is told to come again, before its body is read, and the operator is let in', async () => {
    const writing = barrier();
    const backend = altered(smallLsm(), (database) => {
      const write = database.write.bind(database);
      return {
        async write(...args) {
          await writing.wait();
          return write(...args);
        },
      };
    });
    const { server } = await listening({ backend, limits: { requests: 1 } });
    const first = fetch(`${server.url}/kv/a`, { method: 'PUT', body: 'x' });
    await writing.reached;
    const refused = await fetch(`${server.url}/kv/none`, { method: 'PUT', body: 'x' });
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(await refused.json()).toMatchObject({ error: { code: 'UNAVAILABLE' } });
    for (const path of ['health', 'status', 'metrics', 'capabilities'])
      expect((await fetch(`${server.url}/api/admin/${path}`)).status, path).toBe(200);
    writing.open();
    expect((await first).status).toBe(200);
    expect((await fetch(`${server.url}/kv/a`)).status).toBe(200);
  });

  test('a client that does not read its reply is cut off', async () => {
    const { plain, server } = await served({ replyTimeoutMs: 300, idleTimeoutMs: 300 });
    await fetch(`${server.url}/kv/large`, {
      method: 'PUT',
      body: Buffer.alloc(15 * 1024 * 1024, 1),
    });
    // More than the kernel takes off the server's hands.
    const socket = plain('GET /kv/large HTTP/1.1\r\nhost: localhost\r\n\r\n'.repeat(8));
    await new Promise((some) => socket.once('readable', some)); // looked at, and not taken
    const connections = () =>
      new Promise<number>((done, fail) => {
        const url = `${server.url}/api/admin/metrics`;
        getPlain(url, { agent: false }, async (reply) =>
          done(JSON.parse(await text(reply)).active_connections),
        ).on('error', fail);
      });
    while ((await connections()) > 1);
    expect(socket.closed).toBe(false); // it has not looked, and the server did not wait for that
  });
});

describe('a restore source', () => {
  test('outside of what the operator allowed is refused, there or not, whatever its spelling (invariant 8)', async () => {
    const { rpc, dataDir } = await injected();
    await rpc('PUT', '/kv/a', 'b');
    const { json } = await rpc('POST', '/api/admin/backup');
    await untilFinished(async () => (await rpc('GET', `/api/admin/backup/${json.handle}`)).json);
    const root = join(dataDir, '..');
    const outside = join(root, 'outside');
    mkdirSync(outside);
    execFileSync('cp', ['-r', json.location, join(outside, 'ts-1')]);
    const backup = join(dataDir, '.lifecycle/backup');
    symlinkSync(join(outside, 'ts-1'), join(backup, 'ts-1'));
    symlinkSync(outside, join(backup, 'sub'));
    const before = readTree(dataDir);
    const refusal = async (source: string) => {
      let reply = await rpc('POST', '/api/admin/restore', { source });
      // The run before, refused too, may still be letting go of the lock.
      while (reply.status === 409) reply = await rpc('POST', '/api/admin/restore', { source });
      expect(reply.status, source).toBeGreaterThanOrEqual(400);
      expect(reply.status, source).toBeLessThan(500);
      return reply.json.error.message.replaceAll(source, 'IT');
    };
    const paths = [
      join(outside, 'ts-1'),
      join(outside, 'none'),
      '/etc/passwd',
      '/etc/passwd/none',
      '/none/none',
      join(backup, 'ts-1'),
      join(backup, 'sub/ts-1'),
      `${backup}/../../../outside/ts-1`,
      '../outside/ts-1',
      `${backup}/\0`,
    ];
    const messages = new Set<string>();
    for (const path of paths) messages.add(await refusal(path));
    expect([...messages]).toEqual(['bad request: IT does not lie in a folder that snapshots may come from']);
    for (const name of ['ts-1', 'ts-1\0', '..', '.', '%2e%2e', 'sub', 'ts-1%2f..']) await refusal(name);
    for (const name of [
      '..%2f..%2foutside%2fts-1',
      '%2Fetc',
      'ts-1',
      '%00',
      '..',
      encodeURIComponent(outside),
    ]) {
      const { status } = await rpc('DELETE', `/api/admin/backups/${name}`);
      expect([400, 404], name).toContain(status);
    }
    expect(readTree(dataDir)).toEqual(before);
    expect(Object.keys(readTree(outside)).length).toBeGreaterThan(1);
  });
});

/** A key and a certificate for 127.0.0.1, or why there are none. */
function selfSigned(folder: string): { keyFile: string; certFile: string } {
  const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const request =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost';
  const names = ['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', keyFile, '-out', certFile];
  execFileSync('openssl', [...request.split(' '), ...names], { stdio: 'ignore' });
  return { keyFile, certFile };
}

describeWith('openssl', hasProgram('openssl'), 'TLS', () => {
  test('serves HTTPS to those who trust the certificate, from TLS 1.2 on', async () => {
    const folder = await temporaryFolder();
    const { keyFile, certFile } = selfSigned(folder);
    symlinkSync(certFile, join(folder, 'renewed.pem'));
    const tls = { keyFile, certFile: join(folder, 'renewed.pem') };
    const { server } = await listening({ tls, apiKey: 'k', host: '0.0.0.0' });
    expect(server.url).toMatch(/^https:/);
    const ca = readFileSync(certFile);
    const url = `https://127.0.0.1:${server.port}/api/admin/health`;
    const body = await new Promise((done, fail) => {
      get(url, { ca, headers: { 'x-api-key': 'k' } }, (reply) => done(text(reply))).on('error', fail);
    });
    expect(body).toBe('{"status":"ok","message":"ready"}');
    await expect(fetch(url)).rejects.toThrow(); // nobody vouches for it
    const outcome = (version: 'TLSv1.1' | 'TLSv1.2') =>
      new Promise<string>((done) => {
        const [minVersion, maxVersion, ciphers] = [version, version, 'DEFAULT@SECLEVEL=0'];
        const socket = connectTls({
          port: server.port,
          host: '127.0.0.1',
          ca,
          minVersion,
          maxVersion,
          ciphers,
        });
        socket.once('secureConnect', () => socket.end()).once('close', () => done('ended'));
        socket.once('error', (error) => done((error as NodeJS.ErrnoException).code ?? error.message));
      });
    expect(await outcome('TLSv1.2')).toBe('ended');
    expect(await outcome('TLSv1.1')).toBe('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION');
    const clear = connect(server.port, '127.0.0.1', () => clear.write('GET / HTTP/1.1\r\n\r\n'));
    expect(await text(clear).catch(() => '')).not.toContain('200');
  });

  test('a public address without it is refused, unless the operator says that a proxy has it', async () => {
    const dataDir = join(await temporaryFolder(), 'data');
    const refused = startServer({ dataDir, host: '0.0.0.0', apiKey: 'k' });
    await expect(refused).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining('TLS'),
    });
    await listening({ host: '0.0.0.0', apiKey: 'k', plainHttp: true });
  });

  test('files that are missing, or no pair, are named and not shown', async () => {
    const folder = await temporaryFolder();
    writeTree(folder, { 'key.pem': 'the private key', 'cert.pem': 'no certificate' });
    const start = (keyFile: string) =>
      startServer({ dataDir: join(folder, 'data'), tls: { keyFile, certFile: join(folder, 'cert.pem') } });
    await expect(start(join(folder, 'none'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const error = await start(join(folder, 'key.pem')).catch((reason) => reason);
    expect(error).toMatchObject({ code: 'INVALID_REQUEST', path: join(folder, 'cert.pem') });
    expect(`${error.stack} ${error.cause?.stack}`).not.toContain('the private key');
    writeFileSync(join(folder, 'key.pem'), '');
    await expect(start(join(folder, 'key.pem'))).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });
});
