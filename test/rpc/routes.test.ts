import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { AdminClient } from '../../src/rpc/client.ts';
import { injected, listening, untilFinished } from '../support/server.ts';
import { withPlans } from '../support/server-plans.ts';

/** Routes of the server that the client leaves out, and why. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  'GET /api/admin/backup/{id}/events': 'server-sent events: `backup` is asked again instead',
  'GET /api/admin/restore/{id}/events': 'server-sent events: `restore` is asked again instead',
  'POST /api/admin/backup/{id}/verify': '`verifyBackup` takes an id too',
  'POST /api/admin/export': '`lifecycle` does the same',
  'GET /api/admin/openapi.json': 'for programs that are not written in TypeScript',
  'GET /kv': 'of the database, and not of its administration',
  'GET /kv/{key}': 'as above',
  'PUT /kv/{key}': 'as above',
  'DELETE /kv/{key}': 'as above',
  'POST /kv/_batch': 'as above',
};

const run = 'r';
const key = 'k';
const CALLS: Readonly<Record<string, (client: AdminClient) => Promise<unknown>>> = {
  identity: (client) => client.identity(),
  health: (client) => client.health(),
  status: (client) => client.status(),
  capabilities: (client) => client.capabilities(),
  metrics: (client) => client.metrics(),
  quiesce: (client) => client.quiesce({ run, ttl_ms: 1 }),
  resume: (client) => client.resume({ run, epoch: 'e' }),
  startBackup: (client) => client.startBackup({}),
  backup: (client) => client.backup('h'),
  cancelBackup: (client) => client.cancelBackup('h'),
  backups: (client) => client.backups(),
  verifyBackup: (client) => client.verifyBackup('n'),
  verifyAll: (client) => client.verifyAll(),
  deleteBackup: (client) => client.deleteBackup('n'),
  prune: (client) => client.prune({ keep: 1 }),
  pruneUndo: (client) => client.pruneUndo({ keep: 1 }),
  runs: (client) => client.runs(),
  lifecycle: (client) => client.lifecycle('archive'),
  compact: (client) => client.compact(),
  pin: (client) => client.pin('n', { run, ttl_ms: 0 }),
  push: (client) => client.push('n', { key, repository: 'r' }),
  plans: (client) => client.plans(),
  runPlan: (client) => client.runPlan('n', 'backup'),
  jobs: (client) => client.jobs(),
  job: (client) => client.job('j'),
  cancelJob: (client) => client.cancelJob('j'),
  records: (client) => client.records(),
  repositories: (client) => client.repositories(),
  storedBackups: (client) => client.storedBackups('n'),
  hold: (client) => client.hold({ run }),
  release: (client) => client.release(run),
  startRestore: (client) => client.startRestore({ key, run, source: 's' }),
  startUndo: (client) => client.startUndo({ key, run }),
  restore: (client) => client.restore('h'),
  arrived: (client) => client.arrived(run, 'a/b'),
  send: (client) => client.send(run, 'a/b', { from: 0, bytes: Buffer.from('x') }),
  proveIncoming: (client) => client.proveIncoming(run),
  removeIncoming: (client) => client.removeIncoming(run),
  manifest: (client) => client.manifest('n'),
  file: (client) => client.file('n', 'a/b', { from: 0, etag: undefined }),
};

test('the client has a function for every route of the server, or there is a reason why not', async () => {
  const functions = Object.getOwnPropertyNames(AdminClient.prototype);
  expect(Object.keys(CALLS).sort()).toEqual(
    functions.filter((name) => name !== 'constructor' && name !== 'close').sort(),
  );
  const { paths } = (await (await injected()).rpc('GET', '/api/admin/openapi.json')).json;
  const routes = Object.entries(paths as Record<string, object>).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => ({
      route: `${method.toUpperCase()} ${path}`,
      // What has no parameter comes first where both fit.
      isFixed: !path.includes('{'),
      pattern: new RegExp(`^${method.toUpperCase()} ${path.replace(/\{\w+\}/g, '[^/]+')}$`),
    })),
  );
  routes.sort((a, b) => Number(b.isFixed) - Number(a.isFixed));

  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url!.split('?')[0]}`);
    response.writeHead(404, { 'content-type': 'application/json' });
    response.end('{"error":{"code":"NOT_FOUND","message":"of the test"}}');
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const client = new AdminClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  onTestFinished(() => {
    client.close();
    server.closeAllConnections();
    server.close();
  });
  for (const call of Object.values(CALLS)) await expect(call(client)).rejects.toThrow();

  const reached = asked.map(
    (request) => routes.find(({ pattern }) => pattern.test(request))?.route ?? request,
  );
  expect([...reached, ...Object.keys(LEFT_OUT)].sort()).toEqual(routes.map(({ route }) => route).sort());
});

test('what an operator asks of a server works over a real one', async () => {
  const { server } = await listening(await withPlans());
  const client = new AdminClient({ url: server.url });
  onTestFinished(() => client.close());
  await fetch(`${server.url}/kv/a`, { method: 'PUT', body: 'value' });
  const taken = async () => {
    const { handle } = await client.startBackup({});
    return untilFinished(() => client.backup(handle));
  };
  const [first, second] = [(await taken()).handle, (await taken()).handle];
  expect((await client.cancelBackup(second)).state.status).toBe('completed');
  expect(await client.capabilities()).toMatchObject({ scope: 'full' });
  expect(await client.metrics()).toBeDefined();
  expect((await client.backups()).snapshots).toHaveLength(2);
  expect(await client.verifyBackup(first, { level: 'files' })).toMatchObject({ ok: true });
  expect(await client.verifyAll()).toMatchObject({ ok: true, totals: { snapshots: 2 } });
  expect((await client.prune({ keep: 1, dry_run: true })).removed).toHaveLength(1);
  expect((await client.pruneUndo({ keep: 0 })).removed).toEqual([]);
  expect(await client.deleteBackup(first)).toMatchObject({ left_behind: false });
  expect((await client.runs()).runs.length).toBeGreaterThan(1);
  await client.lifecycle('export');
  expect(await client.compact()).toMatchObject({ success: true });

  expect((await client.plans()).plans).toMatchObject([{ name: 'nightly' }]);
  const { id } = await client.runPlan('nightly', 'backup');
  const job = await untilEnded(() => client.job(id));
  expect(job.status).toBe('succeeded');
  expect((await client.jobs()).jobs).toMatchObject([{ id }]);
  await expect(client.cancelJob(id)).rejects.toMatchObject({ code: 'CONFLICT' });
  expect((await client.records()).records).toMatchObject([{ id: job.backup_id }]);
  expect((await client.storedBackups('offsite')).backups).toMatchObject([{ backup_id: job.backup_id }]);
});

async function untilEnded(ask: () => ReturnType<AdminClient['job']>) {
  for (;;) {
    const job = await ask();
    if (job.status !== 'running') return job;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
