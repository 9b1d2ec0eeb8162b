import { once } from 'node:events';
import { renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../src/env/clock.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { injected } from '../support/server.ts';
import { withPlans } from '../support/server-plans.ts';

const MINUTE = 60_000;

/** `expect` of what becomes true. Asking often would keep the processor from the server. */
const soon = <T>(look: () => T) => expect.poll(look, { timeout: MINUTE, interval: 250 });

/** What arrives at each path, in order. */
async function receiver() {
  const bodies = { webhook: [] as { kind: string; id: string }[], heartbeat: 0 };
  const server = createServer(async (request, reply) => {
    const body = await text(request);
    if (request.url === '/heartbeat') bodies.heartbeat++;
    else bodies.webhook.push({ ...JSON.parse(body), authorization: request.headers.authorization });
    reply.end('ok');
  }).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close().closeAllConnections());
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bodies };
}

test('a server with plans tells of a failure and of its end once each, and its heart beats only while all is well', async () => {
  const { url, bodies } = await receiver();
  let nowMs = Date.parse('2026-11-26T12:00:30Z'); // stands still: on a slow machine nothing more is due
  const clock = { ...systemClock, nowMs: () => nowMs };
  const alerts = {
    webhook: { url: `${url}/webhook`, secret: 'env:STILLPOINT_TEST_SECRET' },
    heartbeat: { url: `${url}/heartbeat`, every: '1m' },
  };
  process.env.STILLPOINT_TEST_SECRET = 'hunter2';
  const given = await withPlans({ backup: '* * * * *' }, undefined, { alerts });
  const server = await injected({
    ...given,
    environment: { ...systemEnvironment, clock },
    log: (line: string) => lines.push(line),
  });
  const lines: string[] = [];
  await server.rpc('PUT', '/kv/a', 'value');
  const last = async () =>
    (await server.rpc('GET', '/api/admin/plans')).json.plans[0].schedules[0].last_status;
  await soon(last).toBe('begun'); // the service has seen the plan
  nowMs += MINUTE;
  await soon(last).toBe('succeeded');
  await soon(() => bodies.heartbeat).toBeGreaterThan(0);
  expect(bodies.webhook).toEqual([]);

  const repository = join(dirname(given.dataDir), 'repository');
  renameSync(repository, `${repository}-away`);
  writeFileSync(repository, 'in its place');
  nowMs += MINUTE;
  await soon(() => bodies.webhook.map(({ kind }) => kind)).toEqual(['failed']);
  const beats = bodies.heartbeat;
  nowMs += MINUTE;
  await soon(() => bodies.webhook.map(({ kind }) => kind)).toEqual(['failed', 'failed']);
  expect(bodies.heartbeat).toBe(beats);

  renameSync(repository, `${repository}-other`);
  renameSync(`${repository}-away`, repository);
  nowMs += MINUTE;
  await soon(() => bodies.webhook.map(({ kind }) => kind)).toEqual(['failed', 'failed', 'recovered']);
  await soon(() => bodies.heartbeat).toBeGreaterThan(beats);
  expect(new Set(bodies.webhook.map(({ id }) => id)).size).toBe(3);
  expect(bodies.webhook[0]).toMatchObject({
    ...{ plan: 'nightly', action: 'backup', data_dir: given.dataDir, authorization: 'Bearer hunter2' },
  });
  const { plans } = (await server.rpc('GET', '/api/admin/plans')).json;
  expect(JSON.stringify(plans) + lines.join('')).not.toContain('hunter2');
});
