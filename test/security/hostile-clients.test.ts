import { get } from 'node:http';
import { connect, type Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { lsmBackend, type ServerLimits } from '../../src/server/index.ts';
import { listening, withSlowHold } from '../support/server.ts';
import { perTier } from '../support/tier.ts';

// Invariant 17: a limit that is over is cut, and no client holds a place that it does not use. Real sockets, which never close
// their side and never read unless they are told to.

/** @param run The handle of one that is under way. */
type Kind = (port: number, run: string) => Socket;

const open = (port: number, bytes: string): Socket => {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => socket.write(bytes));
  return socket.on('error', () => undefined);
};
const head = (line: string, more = '') => `${line} HTTP/1.1\r\nhost: localhost\r\n${more}\r\n`;

const KINDS: Readonly<Record<string, Kind>> = {
  silent: (port) => open(port, ''),
  'half a header': (port) => open(port, 'GET /kv/a HTTP/1.1\r\nhost: local').resume(),
  'an unfinished body': (port) => open(port, `${head('PUT /kv/b', 'content-length: 1000000\r\n')}x`).resume(),
  'a reply not taken': (port) => open(port, head('GET /kv/large').repeat(6)).pause(),
  'followed runs': (port, run) => open(port, head(`GET /api/admin/backup/${run}/events`)).pause(),
  'broken uploads': (port) => {
    const socket = open(port, `${head('PUT /kv/c', 'content-length: 1000000\r\n')}x`);
    return socket.once('connect', () => setImmediate(() => socket.resetAndDestroy()));
  },
};

/** How long an attack goes on, at least. */
const ATTACK_MS = perTier(0, 120_000);

/** Opens so many connections of a kind, and again whenever one is cut, until the test ends. */
function attack(port: number, run: string, kind: Kind, count: number): { stop(): void } {
  const sockets = new Set<Socket>();
  let isOver = false;
  const start = (): void => {
    if (isOver) return;
    const socket = kind(port, run);
    sockets.add(socket);
    socket.once('close', () => {
      sockets.delete(socket);
      globalThis.setTimeout(start, 200).unref();
    });
  };
  for (let i = 0; i < count; i++) start();
  const stop = (): void => {
    isOver = true;
    for (const socket of sockets) socket.destroy();
  };
  onTestFinished(stop);
  return { stop };
}

/** Every request of an honest client, one after another: what each was answered. */
async function served(url: string, rounds: number): Promise<Record<string, number>> {
  const answers: Record<string, number> = {};
  const count = (line: string) => {
    answers[line] = (answers[line] ?? 0) + 1;
  };
  /** On a connection of its own: others are kept open. */
  const askAnew = (path: string) =>
    new Promise<void>((done) => {
      const finish = (answer: unknown) => {
        count(`GET ${path} ${answer} anew`);
        done();
      };
      get(`${url}${path}`, { agent: false }, (reply) => {
        reply.resume().once('end', () => finish(reply.statusCode));
      }).once('error', ({ message }) => finish(message));
    });
  const tryOnce = (path: string, init?: RequestInit) =>
    fetch(`${url}${path}`, init).then(
      async (reply) => {
        await reply.arrayBuffer();
        return String(reply.status);
      },
      (error) => String(error.cause?.code ?? error),
    );
  const ask = async (path: string, init?: RequestInit) => {
    let answer = await tryOnce(path, init);
    // The connection of before may have been the one that was idle for longest. Browsers try again, too.
    if (answer === 'ECONNRESET') answer = await tryOnce(path, init);
    count(`${init?.method ?? 'GET'} ${path} ${answer}`);
  };
  for (let i = 0; i < rounds; i++) {
    await ask('/kv/a', { method: 'PUT', body: `value ${i}` });
    await ask('/kv/a');
    await askAnew('/api/admin/health');
    await ask('/api/admin/status');
  }
  return answers;
}

const allServed = (rounds: number) => ({
  'PUT /kv/a 200': rounds,
  'GET /kv/a 200': rounds,
  'GET /api/admin/health 200 anew': rounds,
  'GET /api/admin/status 200': rounds,
});

const connectionsOf = async (url: string): Promise<number> =>
  ((await (await fetch(`${url}/api/admin/metrics`)).json()) as { active_connections: number })
    .active_connections;

/** A server with a large value, and a snapshot that is under way until `end` is called. */
async function busy(limits: Partial<ServerLimits>) {
  const geometry = { segmentBytes: 8 * 1024 * 1024, segmentCount: 4 };
  const { backend, atHold } = withSlowHold(lsmBackend({ walGeometry: geometry }));
  const { server, log } = await listening({ backend, limits });
  const body = Buffer.alloc(2 * 1024 * 1024, 1);
  expect((await fetch(`${server.url}/kv/large`, { method: 'PUT', body })).status).toBe(200);
  const started = await fetch(`${server.url}/api/admin/backup`, { method: 'POST' });
  const { handle } = (await started.json()) as { handle: string };
  onTestFinished(atHold.open); // or the server would wait for it when a test fails
  await atHold.reached;
  return { server, log, run: handle, end: atHold.open };
}

describe('an honest client is served', () => {
  test.each(Object.keys(KINDS))('beside 150 connections with %s, with places for 50', async (name) => {
    const { server, log, run, end } = await busy({ connections: 50, requests: 8, followers: 8 });
    const { stop } = attack(server.port, run, KINDS[name]!, 150);
    expect(await served(server.url, 10)).toEqual(allServed(10));
    stop();
    while ((await connectionsOf(server.url)) > 3) await setTimeout(20);
    expect(log).toEqual([]);
    end();
  });

  test('beside 2,000 connections of six kinds at once, and after them (invariant 17)', async () => {
    const { server, log, run, end } = await busy({ headerTimeoutMs: 1000, requestTimeoutMs: 3000 });
    const attacks = Object.values(KINDS).map((kind) => attack(server.port, run, kind, 334));
    const untilMs = performance.now() + ATTACK_MS;
    do expect(await served(server.url, 25)).toEqual(allServed(25));
    while (performance.now() < untilMs);
    for (const { stop } of attacks) stop();
    while ((await connectionsOf(server.url)) > 3) await setTimeout(20);
    expect(await served(server.url, 5)).toEqual(allServed(5));
    expect(log).toEqual([]);
    end();
  });
});

test('a thousand half headers get their answer and give their places back, though they never close', async () => {
  const { server } = await listening({ limits: { headerTimeoutMs: 300 } });
  let answered = 0;
  const sockets = Array.from({ length: 1000 }, () => {
    const socket = KINDS['half a header']!(server.port, '');
    socket.once('data', (bytes) => String(bytes).startsWith('HTTP/1.1 408') && answered++);
    return socket;
  });
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
  });
  while (answered < 900) await setTimeout(20); // some are cut off for newer ones
  while ((await connectionsOf(server.url)) > 3) await setTimeout(20);
});

test('who follows a run locks out nobody: the operator sees it and cancels it', async () => {
  const { server, run, end } = await busy({});
  const path = `/api/admin/backup/${run}`;
  attack(server.port, run, KINDS['followed runs']!, 32);
  let status = 0;
  while (status !== 503) {
    const abort = new AbortController();
    status = (await fetch(`${server.url}${path}/events`, { signal: abort.signal })).status;
    abort.abort();
  }
  expect(await served(server.url, 3)).toEqual(allServed(3));
  expect((await fetch(`${server.url}${path}`)).status).toBe(200);
  const cancelled = fetch(`${server.url}${path}`, { method: 'DELETE' });
  end();
  expect(await (await cancelled).json()).toMatchObject({ state: { status: 'cancelled' } });
});
